"""Training by recipe: phases, resuming, and a checkpoint at the end."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from lgm.config import TrainConfig
from lgm.data.base import DataError, Split, per_class
from lgm.data.registry import DATASETS, load_split, validation_split
from lgm.models.card import Card, CheckpointError
from lgm.models.checkpoint import save_measured
from lgm.models.classifier import Classifier, build_model, to_device
from lgm.models.features import Features
from lgm.models.registry import check_name
from lgm.models.scoring import check_images
from lgm.training.loop import ONE_THREAD, fit
from lgm.training.projection import copy_layers, init_projection, last_layer, phase_path
from lgm.training.run import OnEpoch, OnStep, count_steps, count_steps_before
from lgm.training.state import read_progress
from lgm.utils.distributed import Team
from lgm.utils.io import SaveError
from lgm.utils.outputs import reserved
from lgm.utils.threads import one_thread_if

WARM_START = "warm start"  # the phase that its records belong to


def train_checkpoint(
    config: TrainConfig,
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    device: str = "cpu",
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Card | None:
    """Train a config from scratch and save weights, card and features under ``name`` in ``folder``.

    Nobody else can train under that name in that folder meanwhile. What is there already is not touched, unless
    ``resume`` goes on from the state of a run that was stopped, or ``force`` replaces a model, and a state that is not
    resumed.

    A warm start comes first, and before it its own, if it has one. Their records are marked with a ``phase``, steps and
    epochs are counted over all phases, and their last states stay in ``folder`` (see `phase_path`) for all heads that
    start from them: a run that finds one there says so by a record marked ``kept``, without features.

    Returns:
        The card, or None if the caller stopped it: then the state of the last epoch waits for ``resume``. Of several
        processes the first has the card, the others None.

    Raises:
        CheckpointError: the name is taken; or see `fit`.
        SaveError: the files could not be written, or another run is going to.
        DataError, TrainingError: see `load_split` and `fit`.
        ValueError: a network for images of another shape, or one that cannot start from another.
    """
    check_name(name)
    team = Team.join(device)
    callbacks: dict[str, Any] = {"on_step": on_step, "on_epoch": on_epoch, "should_stop": should_stop}
    with ExitStack() as held:
        team.only_first(lambda: held.enter_context(_claimed(name, folder, config, resume=resume, force=force)))
        return _train_and_save(config, name, folder, team, resume=resume, **callbacks)


@contextmanager
def _claimed(name: str, folder: Path, config: TrainConfig, *, resume: bool, force: bool) -> Iterator[None]:
    """Hold the files of a model, unless something would be lost by that; an end before the end says what is kept."""
    weights, state = folder / f"{name}.safetensors", resume_path(name, folder)
    with reserved(weights, folder / f"{name}.json", folder / f"{name}.features.safetensors", state):
        if weights.exists() and not force:
            raise CheckpointError(
                f"a model named {name!r} exists already; choose another --name, or replace it with --force"
            )
        if state.exists() and not (resume or force):
            _raise_if_begun(state, config)
        try:
            yield
        except SaveError as error:
            if kept := _what_is_kept(state):
                raise SaveError(f"{error}; {kept}") from error
            raise
        except KeyboardInterrupt as error:
            warm = ", but those of its warm start: the same command goes on from there" if config.warm_start else ""
            error.add_note(_what_is_kept(state) or f"no epoch is kept{warm}")
            raise


def resume_path(name: str, folder: Path) -> Path:
    """Where the state of a run is kept until its model is saved."""
    return folder / f"{name}.resume.safetensors"


def _raise_if_begun(state: Path, config: TrainConfig) -> None:
    """Nobody has said what to do with the epochs that a stopped run has left."""
    left = read_progress(state)
    if left.config != config and left.history:
        raise CheckpointError(
            f"{state}: {left} of a stopped run of another configuration; choose another --name, or discard them with "
            "--force"
        )
    if left.history:
        raise CheckpointError(f"{state}: {left} of a stopped run; go on with --resume, or discard them with --force")


def _what_is_kept(state: Path) -> str | None:
    left = read_progress(state) if state.exists() else None
    return f"{left} are kept in {state}, go on with --resume" if left and left.history else None


def _train_and_save(
    config: TrainConfig,
    name: str,
    folder: Path,
    team: Team,
    *,
    resume: bool,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
    should_stop: Callable[[], bool] | None,
) -> Card | None:
    train = load_split(config.split, config.dataset)
    if config.limit is not None:
        train = train[per_class(train.labels, 0, config.limit)]
    validation = load_split(validation_split(config.split, config.dataset), config.dataset)
    model = to_device(build_model(config.model, config.seed), team.device)
    check_images(train.pixels(slice(0, 1)), model.image_shape)
    state_path = resume_path(name, folder)
    callbacks: dict[str, Any] = {"validation": validation, "should_stop": should_stop}
    earlier: list[dict[str, Any]] | None = []
    if config.warm_start:
        rest = count_steps(config, train)
        if not team.decide(resume and state_path.exists()):
            # What another run left must not be taken for this one's last phase.
            team.only_first(lambda: state_path.unlink(missing_ok=True))
            before = _counted(on_step, 0, rest)
            earlier = _warm_up(model, config, train, folder, team, on_step=before, on_epoch=on_epoch, **callbacks)
        on_step = _counted(on_step, count_steps_before(config, train), 0)
    if earlier is None:
        return None
    result = fit(
        model,
        train,
        config,
        state_path=state_path,
        resume=resume,
        earlier=earlier,
        on_step=on_step,
        on_epoch=on_epoch,
        **callbacks,
    )
    if not result.completed or team.rank:
        return None
    card = Card(name=name, config=config, weights_sha256="", history=result.history)
    card.data_sha256["trained on"] = train.sha256
    with one_thread_if(config.model.network in ONE_THREAD):
        save_measured(model.eval(), card, list(_splits_at_hand(config.dataset)), folder)
    state_path.unlink(missing_ok=True)
    return card


def _warm_up(
    model: Classifier,
    config: TrainConfig,
    train: Split,
    folder: Path,
    team: Team,
    *,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
    **callbacks: Any,
) -> list[dict[str, Any]] | None:
    """Train the phases before, or find them trained, and start ``model`` from the last of them.

    Returns:
        Their records; None if stopped.
    """
    phase = config.warm_start
    assert phase is not None
    if not _continues(config):
        last_layer(model)  # an error before the phase, not hours later
    source = to_device(build_model(phase.model, phase.seed), team.device)
    path, ran = phase_path(phase, train, folder), False

    def on_warm_epoch(record: dict[str, Any], features: Features | None) -> None:
        nonlocal ran
        ran = True
        if on_epoch:
            on_epoch({**record, "phase": WARM_START}, features)

    earlier: list[dict[str, Any]] | None = []
    if phase.warm_start and not team.decide(path.exists()):
        before = _counted(on_step, 0, count_steps(phase, train))
        earlier = _warm_up(source, phase, train, folder, team, on_step=before, on_epoch=on_epoch, **callbacks)
    if earlier is None:
        return None
    on_step = _counted(on_step, count_steps_before(phase, train), 0)
    callbacks_now = {"on_step": on_step, "on_epoch": on_warm_epoch, **callbacks}
    with ExitStack() as held:  # two runs may share this phase: the second can start from what the first has made
        team.only_first(lambda: _is_finished(path, phase) or held.enter_context(reserved(path)))
        result = fit(source, train, phase, state_path=path, resume=True, earlier=earlier, **callbacks_now)
    if not result.completed:
        return None
    if _continues(config):
        model.load_state_dict(source.state_dict())
    else:
        copy_layers(model, source)
        init_projection(model, train, config.model)
    records = [{**record, "phase": WARM_START} for record in result.history]
    if on_epoch and not ran and team.rank == 0:
        on_epoch({**records[-1], "kept": path.name}, None)
    return records


def _is_finished(path: Path, phase: TrainConfig) -> bool:
    return path.exists() and read_progress(path).epoch == phase.epochs


def _continues(config: TrainConfig) -> bool:
    """Whether this phase continues with all weights of the one before; if not, the projection is initialised."""
    if config.warm_start is None:
        return False
    learnt = {"covariance": config.model.covariance, "learn_priors": config.model.learn_priors}
    return replace(config.warm_start.model, **learnt) == config.model


def _counted(on_step: OnStep | None, before: int, after: int) -> OnStep | None:
    """``on_step`` of a phase that has other steps before and after it."""
    if on_step is None:
        return None
    return lambda step, total, metrics: on_step(before + step, before + total + after, metrics)


def _splits_at_hand(dataset: str) -> Iterator[Split]:
    yield load_split(DATASETS[dataset].held_out, dataset)
    for name in ("train", "test"):
        try:
            yield load_split(name, dataset)
        except DataError:
            continue  # not on this machine; the card says which splits were measured
