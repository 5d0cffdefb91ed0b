"""The controls of the Defend page: the setting of the attacks, who attacks whom in the example, and T."""

import math
from typing import TYPE_CHECKING

import streamlit as st

from lgm.config import DefenseConfig
from ui import defend_model, load, state
from ui.defend_model import CLEAN, POISONS, THRESHOLD

if TYPE_CHECKING:
    from lgm.defense.example import Attack

_TASKS = {"two": "2 classes", "all": "all classes"}


def controls() -> DefenseConfig:
    """The setting, which the many attacks share with the example."""
    config = defend_model.setting()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        for name, label, options, value in (
            ("poisons", "Poisons K", POISONS, config.poisons),
            ("clean", "Clean images a class", CLEAN, config.clean),
        ):
            st.select_slider(label, options, key=shows(name, value), width=190, on_change=keep, args=(name,))
        key = shows("task", config.task)
        st.segmented_control(
            "Head tells apart", list(_TASKS), format_func=_TASKS.__getitem__, key=key, on_change=keep, args=("task",)
        )
    return config


def draw_row(attack: "Attack | None", loss: str) -> float | None:
    """Who attacks whom in the example, and T. Returns T in nats; None where there is no example."""
    pair = defend_model.classes()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for name, other, label, value in (
            ("base_class", "target_class", "Poisons claim", pair[0]),
            ("target_class", "base_class", "Target is", pair[1]),
        ):
            options = sorted(defend_model.offered())
            key, arguments = shows(name, value), (name, other, pair)
            st.selectbox(
                label, options, format_func=load.class_name, key=key, width=120, on_change=_keep_class, args=arguments
            )
        st.button(
            "New draw", icon=":material/casino:", on_click=_draw_again, help="Another target, bases, clean images"
        )
        return _threshold_slider(attack, loss) if attack else None


def _threshold_slider(attack: "Attack", loss: str) -> float:
    """T, and the way back to the calibrated one. Returns T in nats."""
    current = defend_model.current_threshold(attack, loss)
    options = defend_model.stops(attack, current)
    current = max(current, options[0])  # -inf: too few images to promise anything
    st.select_slider(
        "T: remove what has at most this log-likelihood (nats)",
        options,
        format_func="{:.2f}".format,
        key=shows(THRESHOLD[loss], current),
        on_change=keep,
        args=(THRESHOLD[loss],),
    )
    known = math.isfinite(attack.threshold)
    st.button(
        f"1 %: {attack.threshold:.2f}" if known else "Remove nothing",
        on_click=_calibrate,
        args=(loss,),
        disabled=getattr(state.link(), THRESHOLD[loss]) is None,
        help="Back to the T that this example's calibration images vouch for at 1 %: another draw has other ones."
        if known
        else "Too few clean images to calibrate T for 1 %: by itself, the filter removes nothing.",
    )
    return current


def keep(name: str) -> None:
    """Take over what a widget was set to; a control that was switched off stays as it was."""
    picked = st.session_state[f"defend_{name}"]
    if picked is not None:
        state.put(**{name: picked})


def _keep_class(name: str, other: str, pair: tuple[int, int]) -> None:
    """Take over a class; if it is the other's, they change places."""
    picked, place = st.session_state[f"defend_{name}"], int(name == "target_class")
    state.put(**{name: picked, other: pair[place] if picked == pair[1 - place] else pair[1 - place]})


def _draw_again() -> None:
    """Another target, other bases, other clean images."""
    state.draw_next("draw")


def _calibrate(loss: str) -> None:
    """Back to the calibrated T."""
    state.put(**{THRESHOLD[loss]: None})


def shows(name: str, value: object) -> str:
    """The key of a widget that shows this value, whoever has set it."""
    st.session_state[f"defend_{name}"] = value
    return f"defend_{name}"
