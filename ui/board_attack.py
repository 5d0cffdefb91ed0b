"""One attack of a cell of the board, replayed: its poisons are stored as features, all else is computed anew."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import streamlit as st

from lgm.experiments.board.config import BoardConfig
from lgm.experiments.board.record import Board, BoardNetwork, Cell
from ui import board_measure, load, state, verdict
from ui.defend_controls import keep, shows
from ui.frame import enlarged
from ui.period import period
from ui.planes import chip, planes

if TYPE_CHECKING:
    from lgm.defense.example import Demonstration, Scene
    from lgm.experiments.board.replay import Replay
    from lgm.experiments.board.setting import Setting
    from lgm.experiments.board.stored import StoredAttack
    from lgm.plots.features import Projection

_SIZE = 215  # pixels of a plane: three are beside the map
_THUMBNAIL = 52  # pixels


class _About(NamedTuple):
    """What a board was measured on, and when."""

    split: str
    config: BoardConfig
    made: str


class _Which(NamedTuple):
    """An attack of a cell; ``row`` is its attacker and choice of target, ``trial`` counts from 0."""

    row: tuple[str, str]
    budget: tuple[int, int]
    filter: str
    fpr: float
    head: str
    trial: int


@st.cache_resource(show_spinner=False, max_entries=64)
def _shipped(_board: Board, fingerprint: str, name: str, row: tuple[str, str], when: int) -> "StoredAttack | None":
    from lgm.experiments.board.stored import read_attack

    del fingerprint, when  # the key of the cache
    return read_attack(_board, name, *row)


def _stored(board: Board, network: BoardNetwork, row: tuple[str, str]) -> "StoredAttack | None":
    """The attacks of a row: shipped with the board, or measured since the server began."""
    mine = board_measure.measured(load.model_name(network.loss))
    if mine is not None and mine.board is board:
        return mine.attacks.get((network.model, *row))
    return _shipped(board, board.fingerprint, network.model, row, period())


@st.cache_resource(show_spinner=False, max_entries=4)
def _setting(name: str, weights_sha256: str, split: str, config: BoardConfig) -> "Setting":
    del weights_sha256  # part of the key
    from lgm.experiments.board.setting import Setting

    known = load.embedded(name, split)
    return Setting(load.model(name), known.labels, known.z, config)


@st.cache_resource(show_spinner="Replaying the attack", max_entries=64)
def _replayed(name: str, _stored: "StoredAttack", weights_sha256: str, about: _About, which: _Which) -> "Replay":
    from lgm.experiments.board.replay import replay

    setting = _setting(name, weights_sha256, about.split, about.config)
    return replay(
        setting,
        _stored,
        budget=which.budget,
        filter=which.filter,
        fpr=which.fpr,
        head=which.head,
        trial=which.trial,
    )


def attack_of(board: Board, network: BoardNetwork, row: tuple[str, str], cell: Cell) -> None:
    """A number chooses one of the attacks of this cell; it is drawn before, poisoned and filtered."""
    name, weights = load.model_name(network.loss), network.weights_sha256
    stored = _stored(board, network, row)
    if stored is None:
        st.caption("The poisons of this row are not stored: its attacks cannot be drawn.")
        return
    count = len(stored.targets)
    number = min(state.link().trial, count)
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        st.number_input(
            f"Attack, 1 to {count}",
            min_value=1,
            max_value=count,
            key=shows("trial", number),
            on_change=keep,
            args=("trial",),
            width=150,
        )
        said = st.container(width="stretch")
    about = _About(board.split, board.config, board.made)
    which = _Which(row, (cell.poisons, cell.clean), cell.filter, cell.fpr, cell.head, number - 1)
    found = _replayed(name, stored, weights, about, which)
    scale = _setting(name, weights, board.split, board.config).scale
    scene = scene_of(found, name, scale)
    shown = shown_of(found, scene)
    with said:
        st.html(_said(found, filtered=cell.filter != "none"))
    _planes(scene, shown, filtered=cell.filter != "none")
    if number == 1 and len(stored.images):
        _images(stored.images[: cell.poisons], shown.removed[shown.poisoned])


def scene_of(found: "Replay", model: str, scale: np.ndarray) -> "Scene":
    """Who plays which part, as figure 7 has it."""
    from lgm.defense.example import Scene
    from lgm.defense.finetune import Examples

    nothing = np.full(1, np.nan), np.zeros(1, bool), np.empty((1, *found.clean.pixels.shape[1:]), np.float32)
    target = Examples(found.target_z[None], np.array([found.trial.target_class]), *nothing)
    return Scene(model, found.trial, found.clean, found.poisons, target, scale)


def shown_of(found: "Replay", scene: "Scene") -> "Demonstration":
    """What the filter removes, and the three heads."""
    from lgm.defense.example import Demonstration

    arms = {arm: None if head is None else scene.arm(head) for arm, head in vars(found.heads).items()}
    return Demonstration(np.nan, found.removed, scene.mixed.poisoned, arms)


def _said(found: "Replay", *, filtered: bool) -> str:
    """Who attacks whom, and how it ends."""
    trial = found.trial
    base, true = load.class_name(trial.base_class), load.class_name(trial.target_class)
    seen = found.predicted.clean, found.predicted.unfiltered, found.predicted.filtered
    end = chip(*verdict.of_replay(trial.base_class, trial.target_class, seen, filtered=filtered))
    return f"Poisons claim {base}, the target is {true}. {end}"


def _planes(scene: "Scene", shown: "Demonstration", *, filtered: bool) -> None:
    clean, count = len(scene.clean), len(scene.poisons)
    poisons = f"{count} poison{'s' if count > 1 else ''}"
    captions: dict[str, str | None] = {
        "clean": f"{clean} clean images",
        "unfiltered": f"{clean} clean images and {poisons}",
    }
    if filtered:
        captions["filtered"] = f"removed {shown.poisons_removed} of {poisons}, {shown.clean_removed} of {clean} clean"
    planes(scene, shown, seen_of(scene), captions, key="board_plane", size=_SIZE)


def seen_of(scene: "Scene") -> "Projection":
    """How the features of an attack become places: by those of its two classes, whatever the head tells apart."""
    from lgm.plots.features import pair_projection

    its = np.isin(scene.clean.labels, (scene.trial.base_class, scene.trial.target_class))
    return pair_projection(scene.clean.z[its] / scene.scale, scene.clean.labels[its])


def _images(images: np.ndarray, removed: np.ndarray) -> None:
    """The poisons as people see them."""
    st.markdown("**These poisons as people see them**")
    with st.container(horizontal=True, gap="small"):
        for number, (pixels, gone) in enumerate(zip(images, removed, strict=True), start=1):
            fate = "caught" if gone else "missed"
            picture = enlarged(pixels, _THUMBNAIL)
            st.image(picture, caption=fate, width=_THUMBNAIL, alt=f"Poison {number}, {fate}")
