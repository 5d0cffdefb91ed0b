"""The base and the target of the Craft page: which pair is chosen, drawn at random, or picked image by image."""

from dataclasses import replace

import numpy as np
import streamlit as st

from lgm.data.base import DataError
from lgm.plots.theme import ROLE
from ui import beta_paths, load, state
from ui.components.picker import pick_image
from ui.pair import OTHER, Member, OwnImage, Pair, Role, label_of
from ui.pictures import pictured, pictures

_OFFERED = 12  # images offered per class
_OWN = "own_images"  # of a session, by role: a link has no room for them


def labels() -> np.ndarray:
    """Labels of the images to choose from."""
    return pictured()


def current_pair() -> Pair:
    """The user's own images where he has chosen some, and those of the link or of the example for the rest."""
    pair = _positions()
    for role, own in st.session_state.get(_OWN, {}).items():
        if own.fits(load.dataset()):
            pair = _with(pair, role, own)
    if label_of(pair.base) != label_of(pair.target):
        return pair
    # Another network, or other data, has put back the link to an example: which may be of the own image's class.
    role: Role = "target" if isinstance(pair.base, OwnImage) else "base"
    others = np.flatnonzero(labels() != label_of(pair.of(OTHER[role])))
    if not len(others):
        raise DataError(f"{load.clean_split()}: expected images of two classes at least, got one; choose other data")
    return _with(pair, role, int(others[0]))


def classes_beside(other: Member) -> list[int]:
    """The classes that there are images of, without that of the other member of a pair."""
    return [int(k) for k in np.unique(labels()) if k != label_of(other)]


def _positions() -> Pair:
    """The pair in the URL if it fits the data, else the shipped example, else the first of two classes."""
    y, base, target = labels(), state.link().base, state.link().target
    if base is not None and target is not None and max(base, target) < len(y) and y[base] != y[target]:
        return Pair(base, target)
    example = beta_paths.example(load.model_name("lgm"))
    if example is not None and example.manifest["split"] == load.clean_split():
        return Pair(*example.manifest["pair"])
    base, target = map(_first, load.example_classes())
    return Pair(base, target)


def _first(label: int) -> int:
    """Position of the first image of a class, or of the first image of all if there is none of it."""
    return int((labels() == label).argmax())


def _with(pair: Pair, role: Role, member: Member) -> Pair:
    return replace(pair, **{role: member})


def draw_pair(kind: str) -> None:
    """A new random pair: of any classes, of neighbouring ones ("near") or of distant ones ("far")."""
    seed = state.draw_next("seed")
    rng, y = np.random.default_rng(seed), labels()
    means = load.features(load.model_name("lgm")).means
    classes = [(int(a), int(b)) for a in np.unique(y) for b in np.unique(y) if a != b]
    classes.sort(key=lambda ab: float(np.linalg.norm(means[ab[0]] - means[ab[1]])))
    among = {"near": classes[:10], "far": classes[-10:]}.get(kind, classes)
    a, b = among[rng.integers(len(among))]
    _choose(Pair(int(rng.choice(np.flatnonzero(y == a))), int(rng.choice(np.flatnonzero(y == b)))))


def choose(role: Role, member: Member) -> None:
    """Make an image the base or the target, and keep the other one."""
    _choose(_with(current_pair(), role, member))


def _choose(pair: Pair) -> None:
    """Set the pair. In the link, the first image of the same class stands for an own one."""
    own = {role: pair.of(role) for role in OTHER if isinstance(pair.of(role), OwnImage)}
    st.session_state[_OWN] = own
    positions = {role: _first(label_of(pair.of(role))) if role in own else pair.of(role) for role in OTHER}
    state.put(**positions)


def choose_image(role: Role, pair: Pair) -> None:
    """The images of D_f to pick from: the class, then the image."""
    y, member, other = labels(), pair.of(role), pair.of(OTHER[role])
    position = None if isinstance(member, OwnImage) else member
    shown = label_of(member)
    picked = st.segmented_control(
        f"{role.capitalize()} class",
        classes_beside(other),
        default=shown,
        format_func=load.class_name,
        key=f"class_{role}_{member}_{label_of(other)}",
    )
    if picked is not None and picked != shown:
        choose(role, _first(picked))
        st.rerun()
    rng = np.random.default_rng(st.session_state.get(f"shuffle_{role}", 0))
    offered = rng.permutation(np.flatnonzero(y == shown))[:_OFFERED]
    if position is not None and position not in offered:
        offered[0] = position
    offered = np.sort(offered)
    images = pictures().images[offered]
    clicked = pick_image(f"{role} image", images, offered.tolist(), position, ROLE[role], key=f"pick_{role}")
    if clicked is not None and clicked != position:
        choose(role, clicked)
        st.rerun()
    st.button("Shuffle", key=f"more_{role}", icon=":material/shuffle:", on_click=_shuffle, args=(role,))


def _shuffle(role: Role) -> None:
    """Offer other images of the same class."""
    st.session_state[f"shuffle_{role}"] = st.session_state.get(f"shuffle_{role}", 0) + 1
