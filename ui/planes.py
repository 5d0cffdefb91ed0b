"""Figure 7 on the screen: what a head is fine-tuned on before the attack, poisoned, and filtered, side by side."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import streamlit as st

from lgm.plots.theme import ROLE
from ui import load

if TYPE_CHECKING:
    from lgm.defense.example import Demonstration, Scene
    from lgm.plots.features import Projection

HEADINGS = {"clean": "Before the attack", "unfiltered": "Poisoned", "filtered": "Poisoned, then filtered"}
_KEY = (
    "● clean image, ◆ poison, in the colour of the class they claim · crossed: removed · ☆ target · in the large "
    "frame: what is in the small one"
)
_HEIGHT = 290  # pixels of a plane, where nobody says otherwise


def planes(
    scene: "Scene",
    shown: "Demonstration",
    seen: "Projection",
    captions: Mapping[str, str | None],
    *,
    key: str,
    size: int = _HEIGHT,
) -> None:
    """A plane for each arm that has a caption; where that is None, the poisons are still to come."""
    from lgm.plots.fine_tuning import decision_plane

    names = load.dataset().classes
    for column, (arm, caption) in zip(st.columns(3, gap="small"), captions.items(), strict=False):
        with column:
            text, role = ("poisons to come", "softmax") if caption is None else _target_fate(scene, shown, arm)
            st.html(f'<div style="min-height: 3.3rem"><b>{HEADINGS[arm]}</b><br>{chip(text, role)}</div>')
            st.plotly_chart(
                decision_plane(scene, shown if caption is not None else None, arm, seen, names, size=size),
                key=f"{key}_{arm}",
                config={"scrollZoom": True, "displaylogo": False, "displayModeBar": False},
                alt=f"{HEADINGS[arm]}: {text}",
            )
            st.caption(f"{len(scene.clean)} clean images, no poison yet" if caption is None else caption)
    st.caption(_KEY if seen.exact else f"{_KEY}. Features: {seen.title}; without regions, which a plane cannot show.")


def _target_fate(scene: "Scene", shown: "Demonstration", arm: str) -> tuple[str, str]:
    """What becomes of the target, and the role whose colour says so."""
    base, true = (load.class_name(k) for k in (scene.trial.base_class, scene.trial.target_class))
    model = shown.arms[arm]
    if model is None:
        return "nothing is left to fine-tune on", "base"
    if model.predicted == scene.trial.target_class:
        return f"{'the target is' if arm == 'clean' else 'still'} taken for {true}", "clean"
    if model.predicted == scene.trial.base_class:
        return f"taken for {base}, {'without any poison' if arm == 'clean' else 'as the attacker wants'}", "poison"
    return f"taken for {load.class_name(model.predicted)}: neither {true} nor {base}", "base"


def chip(text: str, role: str) -> str:
    """A coloured label."""
    return f'<span class="lgm-chip" style="border-color:{ROLE[role]}">{text}</span>'
