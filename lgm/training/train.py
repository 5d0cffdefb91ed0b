"""Training a network by its recipe: its files are claimed, and a checkpoint is saved at the end."""

from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from lgm.config import TrainConfig
from lgm.data.base import DataError, Split, per_class
from lgm.data.registry import DATASETS, find_dataset, held_out_of, load_split, validation_split
from lgm.models.card import REGISTRATION, Card, CheckpointError
from lgm.models.checkpoint import save_measured
from lgm.models.registry import check_name
from lgm.training.loop import ONE_THREAD
from lgm.training.phases import fit_phases
from lgm.training.run import OnEpoch, OnStep
from lgm.training.state import read_progress, resume_path
from lgm.utils.distributed import Team
from lgm.utils.io import SaveError
from lgm.utils.outputs import reserved
from lgm.utils.threads import one_thread_if


def train_checkpoint(
    config: TrainConfig,
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    device: str = "cpu",
    weights: Path | None = None,
    measured: Collection[str] | None = None,
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Card | None:
    """Train a config from scratch and save weights, card and features under ``name`` in ``folder``.

    Nobody else can train under that name in that folder meanwhile. What is there already is not touched, unless
    ``resume`` goes on from the state of a run that was stopped, or ``force`` replaces a model, and a state that is not
    resumed.

    Records of all phases but the last are marked with a ``phase``. Steps and epochs are counted over all of them. The
    state in which each ends stays in ``folder`` (see `phase_path`) for all recipes that begin with the same phases: a
    run that finds one there says so by a record marked ``kept``, without features. ``weights``: see `fit_phases`.
    ``measured``: which splits to measure and to keep the features of, beside the one that is held out; None: all that
    are on this machine.

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
    state = resume_path(name, folder)
    with ExitStack() as held:
        team.only_first(lambda: held.enter_context(_claimed(name, folder, config, resume=resume, force=force)))
        train = load_split(config.split, config.dataset)
        if config.limit is not None:
            train = train[per_class(train.labels, 0, config.limit)]
        model, result = fit_phases(
            config,
            train,
            state,
            team,
            validation=load_split(validation_split(config.split, config.dataset), config.dataset),
            resume=resume,
            on_step=on_step,
            on_epoch=on_epoch,
            should_stop=should_stop,
            weights=weights,
        )
        if not result.completed or team.rank:
            return None
        card = Card(name=name, config=config, weights_sha256="", history=result.history)
        if config.dataset not in DATASETS:
            own = find_dataset(config.dataset)
            card.classes, card.data_sha256[REGISTRATION] = own.classes, own.digest
        card.data_sha256["trained on"] = train.sha256
        with one_thread_if(config.model.network in ONE_THREAD):
            save_measured(model.eval(), card, list(_splits_at_hand(config.dataset, measured)), folder)
        state.unlink(missing_ok=True)
        return card


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
            warm = ", but those of its warm start: the same command goes on from there" if config.phases[1:] else ""
            error.add_note(_what_is_kept(state) or f"no epoch is kept{warm}")
            raise


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


def _splits_at_hand(dataset: str, measured: Collection[str] | None) -> Iterator[Split]:
    yield load_split(held_out_of(dataset), dataset)
    for name in ("train", "test"):
        if measured is not None and name not in measured:
            continue
        try:
            yield load_split(name, dataset)
        except DataError:
            continue  # not on this machine; the card says which splits were measured
