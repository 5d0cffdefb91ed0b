"""A training step through Hugging Face Accelerate: precision, gradients of several processes, clipping.

Accelerate is imported only when a run begins, because it takes a second.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from lgm.config import Trained
from lgm.models.classifier import Classifier, device_of
from lgm.training.frozen import last_layer

if TYPE_CHECKING:
    from accelerate import Accelerator


_SHARED_OUT = ("DEEPSPEED", "FSDP", "MEGATRON_LM")  # each process holds a part of the network


class Objective(nn.Module):
    """A batch's loss as one module, for Accelerate to wrap: the network in its precision, the head in float32."""

    def __init__(self, model: Classifier, layers: Trained) -> None:
        super().__init__()
        self.model = model
        self.layers = layers

    def forward(self, x: Tensor, y: Tensor, ramp: float) -> tuple[Tensor, Tensor]:
        """Scalar loss, and the features it comes from, (N, D) float32 without gradient.

        ``x`` is images if all layers learn, else what those that do not make of them (see `FrozenFeatures`).
        """
        z = x if self.layers == "head" else self._layers(x).float()
        with torch.autocast(x.device.type, enabled=False):
            return self.model.head.loss(z, y, ramp), z.detach()

    def _layers(self, x: Tensor) -> Tensor:
        return last_layer(self.model)(x) if self.layers == "projection" else self.model.embed(x)


def prepare(
    model: Classifier, layers: Trained, optimizer: torch.optim.Optimizer, precision: torch.dtype
) -> tuple["Accelerator", nn.Module, torch.optim.Optimizer]:
    """What a step needs: accelerator, `Objective` and optimiser. The model stays where it lies.

    Raises:
        ValueError: the launcher was told to share out one network among processes.
    """
    device = device_of(model)
    accelerator = _accelerator(device, precision)
    if accelerator.distributed_type in _SHARED_OUT:
        raise ValueError(
            f"accelerate: expected a whole network in each process, got {accelerator.distributed_type.value}; "
            "launch with --multi_gpu, or run `accelerate config` anew"
        )
    objective: nn.Module = Objective(model, layers)
    if accelerator.num_processes > 1 and device.type == "cuda":  # there is none for the CPU
        objective = nn.SyncBatchNorm.convert_sync_batchnorm(objective)
    return accelerator, *accelerator.prepare(objective, optimizer)


def _accelerator(device: torch.device, precision: torch.dtype) -> "Accelerator":
    """Device and precision are settings of the whole process, which an earlier run in it may have set otherwise."""
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    def make() -> Accelerator:
        mixed = "bf16" if precision == torch.bfloat16 else "no"
        return Accelerator(cpu=device.type == "cpu", mixed_precision=mixed, device_placement=False)

    try:
        accelerator = make()
        if accelerator.device.type == device.type:
            return accelerator
    except ValueError:  # another precision, or the CPU after a GPU
        pass
    AcceleratorState._reset_state(reset_partial_state=True)
    return make()
