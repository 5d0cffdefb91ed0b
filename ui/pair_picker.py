"""The base and the target of the Craft page: which pair is chosen, drawn at random, or picked image by image."""

import numpy as np
import streamlit as st

from lgm.plots.theme import ROLE
from ui import beta_paths, load, state
from ui.components.picker import pick_image

_OFFERED = 12  # images offered per class


def labels() -> np.ndarray:
    """Labels of D_f, stored with the features: no image has to be read for them."""
    return load.embedded(load.model_name("lgm"), load.clean_split()).labels


def current_pair() -> tuple[int, int]:
    """The pair in the URL if it fits the data, else the shipped example, else the first 4 and the first 9."""
    y, base, target = labels(), state.link().base, state.link().target
    if base is not None and target is not None and max(base, target) < len(y) and y[base] != y[target]:
        return base, target
    example = beta_paths.example(load.model_name("lgm"))
    if example is not None and example.manifest["split"] == load.clean_split():
        return tuple(example.manifest["pair"])
    return int(np.flatnonzero(y == 4)[0]), int(np.flatnonzero(y == 9)[0])


def draw_pair(kind: str) -> None:
    """A new random pair: of any classes, of neighbouring ones ("near") or of distant ones ("far")."""
    seed = state.draw_next("seed")
    rng, y = np.random.default_rng(seed), labels()
    means = load.features(load.model_name("lgm")).means
    classes = [(a, b) for a in range(len(means)) for b in range(len(means)) if a != b]
    classes.sort(key=lambda ab: float(np.linalg.norm(means[ab[0]] - means[ab[1]])))
    among = {"near": classes[:10], "far": classes[-10:]}.get(kind, classes)
    a, b = among[rng.integers(len(among))]
    _choose(rng.choice(np.flatnonzero(y == a)), rng.choice(np.flatnonzero(y == b)))


def choose_image(role: str, position: int, other: int) -> None:
    """One column of the pickers: the class, then the image."""
    y = labels()
    shown = int(y[position])
    classes = [k for k in range(len(load.dataset().classes)) if k != int(y[other])]
    picked = st.segmented_control(
        f"{role.capitalize()} class",
        classes,
        default=shown,
        format_func=load.class_name,
        key=f"class_{role}_{position}_{other}",
    )
    if picked is not None and picked != shown:
        _replace_one(role, int(np.flatnonzero(y == picked)[0]))
        st.rerun()
    rng = np.random.default_rng(st.session_state.get(f"shuffle_{role}", 0))
    offered = rng.permutation(np.flatnonzero(y == shown))[:_OFFERED]
    if position not in offered:
        offered[0] = position
    offered = np.sort(offered)
    images = load.split(load.clean_split()).images[offered]
    clicked = pick_image(f"{role} image", images, offered.tolist(), position, ROLE[role], key=f"pick_{role}")
    if clicked is not None and clicked != position:
        _replace_one(role, clicked)
        st.rerun()
    st.button("Shuffle", key=f"more_{role}", icon=":material/shuffle:", on_click=_shuffle, args=(role,))


def _choose(base: int, target: int) -> None:
    """Set the pair."""
    state.put(base=int(base), target=int(target))


def _replace_one(role: str, position: int) -> None:
    """Set the base or the target, keeping the other."""
    base, target = current_pair()
    _choose(*((position, target) if role == "base" else (base, position)))


def _shuffle(role: str) -> None:
    """Offer other images of the same class."""
    st.session_state[f"shuffle_{role}"] = st.session_state.get(f"shuffle_{role}", 0) + 1
