"""What all pages are about, seen and changed at the top of each: the dataset, the clean data, the two networks."""

import streamlit as st

from ui import datasets, load, state
from ui.markdown import plain


def choose_data() -> None:
    """One line that says it, and opens to change it."""
    chosen = load.dataset()
    split = chosen.brief(load.clean_split())
    names = ", ".join(load.model_name(loss) for loss in load.LOSSES)
    with st.popover(f"{chosen.title}, {split} · {names}", icon=":material/database:", key="choices"):
        titles = {name: datasets.title(name) for name in load.usable()}
        _choice("Dataset", "dataset", list(titles), chosen.name, titles)
        for name, loss in load.one_loss().items():
            st.caption(plain(f"{name} has no {loss} network yet: lgm train --data {name} --loss {loss}"))
        wording = {name: f"{chosen.title}: {chosen.brief(name)}" for name in chosen.splits}
        _choice("Fine-tuning data D_f", "data", load.clean_splits(), load.clean_split(), wording)
        if not chosen.at_hand(chosen.clean[0]):
            missing = f"The official {chosen.title} files are not on this machine. The Train page can fetch them."
            st.caption(plain(load.closed_data() or missing))
        for loss, title in load.LOSSES.items():
            _choice(title, loss, load.networks(loss, chosen.name), load.model_name(loss), {})


def _choice(title: str, name: str, options: list[str], current: str, titles: dict[str, str]) -> None:
    index = options.index(current) if current in options else 0
    shown = [titles.get(option, option) for option in options]
    # A choice made elsewhere is part of the key: a widget that is already there would take it back.
    label = st.selectbox(title, shown, index=index, key=f"w_{name}_{current}_{shown}")
    picked = options[shown.index(label)] if label else current
    if picked != current:
        state.choose(name, picked)
        st.rerun()
