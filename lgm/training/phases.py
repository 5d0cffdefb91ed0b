"""Training by recipe: a loop over its phases, which finds those that are trained already."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lgm.config import Phase, TrainConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier, build_model, to_device
from lgm.models.scoring import check_images
from lgm.training.frozen import FrozenFeatures, last_layer
from lgm.training.loop import FitResult, fit
from lgm.training.projection import start_from, start_pretrained
from lgm.training.run import OnEpoch, OnStep
from lgm.training.state import phase_path, read_progress
from lgm.utils.distributed import Team
from lgm.utils.outputs import reserved

WARM_START = "warm start"  # in records: of a phase before the last


def fit_phases(
    config: TrainConfig,
    train: Split,
    state: Path,
    team: Team,
    *,
    validation: Split,
    resume: bool,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
    should_stop: Callable[[], bool] | None,
    weights: Path | None = None,
) -> tuple[Classifier, FitResult]:
    """Train through all phases, from the last one whose state is on disk: it holds what came before.

    The arguments are those of `fit`; ``state`` is where the last phase keeps its own, and the others keep theirs beside
    it (see `phase_path`). Without ``resume`` what lies at ``state`` is another run's, and is replaced. ``weights`` are
    those of a pre-trained first phase that come with no package.

    Returns:
        The last network that was trained, and whether all were.

    Raises:
        CheckpointError, TrainingError: See `fit`.
        SaveError: another run trains a phase that both share.
        ValueError: a network for images of another shape, or one that cannot start from another.
    """
    last = len(config.phases) - 1
    paths = [*(phase_path(config.up_to(number), train, state.parent) for number in range(last)), state]
    found = [number for number, path in enumerate(paths) if path.exists() and (resume or number < last)]
    first = team.decide(max(found, default=0))
    models = _networks(config.phases[first:], train, team.device)
    if not resume:
        team.only_first(lambda: state.unlink(missing_ok=True))
    result = FitResult([], completed=True)
    for number, model in enumerate(models, first):
        phase, frozen = config.phases[number], FrozenFeatures(model, config.phases[number].layers)
        if number > first:
            start_from(model, models[number - first - 1], phase, train)
        elif phase.init == "pretrained" and number not in found:
            start_pretrained(model, phase, train, frozen, weights)
        warm = number < last
        with _shared(paths[number], team) if warm else nullcontext(False) as kept:
            result = fit(
                model,
                train,
                config,
                number,
                frozen=frozen,
                validation=validation,
                state_path=paths[number],
                resume=True,
                earlier=[*map(_of_warm_start, result.history)],
                on_step=on_step,
                on_epoch=_telling(on_epoch) if warm and on_epoch else on_epoch,
                should_stop=should_stop,
            )
        if not result.completed:
            break
        if kept and on_epoch:
            on_epoch({**_of_warm_start(result.history[-1]), "kept": paths[number].name}, None)
    return models[-1], result


def _networks(phases: Sequence[Phase], train: Split, device: str) -> list[Classifier]:
    """Of each phase, with random weights. What cannot work is an error now, and not after hours of another phase."""
    models = [to_device(build_model(phase.model, phase.seed), device) for phase in phases]
    check_images(train.pixels(slice(0, 1)), models[-1].image_shape)
    for phase, model in zip(phases, models, strict=True):
        if phase.init in ("project", "pretrained"):
            last_layer(model)
    return models


def _of_warm_start(record: dict[str, Any]) -> dict[str, Any]:
    return {**record, "phase": WARM_START}


def _telling(on_epoch: OnEpoch) -> OnEpoch:
    return lambda record, features: on_epoch(_of_warm_start(record), features)


@contextmanager
def _shared(path: Path, team: Team) -> Iterator[bool]:
    """Hold the state of a phase until another run can start from it; whether that is so already."""

    def hold() -> bool:
        if path.exists() and read_progress(path).finished:
            return True
        held.enter_context(reserved(path))
        return False

    with ExitStack() as held:
        yield bool(team.only_first(hold))
