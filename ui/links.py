"""What a link asks for and is not here: said on the page, and taken out of the address."""

from collections.abc import Collection

import streamlit as st

from lgm.experiments.board.config import HEAD_TITLES
from ui import board_measure, load, state
from ui.frame import guard
from ui.state import DEPENDENTS, FIELDS, quoted

_SAID = "link_said"


def adopt() -> None:
    """Take over the link at the start of a session, and say what of it cannot be shown until that is dismissed."""
    said = state.pull()
    if said is not None:
        with guard():
            said += [*_names(), *_images(), *_classes(), *_gamma(), *_board()]
        st.session_state[_SAID] = said
    if st.session_state.get(_SAID):
        with st.container(horizontal=True, vertical_alignment="center"):
            st.warning("  \n".join(st.session_state[_SAID]), icon=":material/link_off:")
            st.button("Close", on_click=st.session_state.pop, args=(_SAID,))


def _names() -> list[str]:
    """Dataset, data and networks, in this order: what can be there depends on the one before."""
    said = []
    if (asked := state.link().dataset) not in load.usable():
        said.append(_instead("dataset", f"the dataset {quoted(asked)}", "has no networks here", load.dataset().title))
    dataset = load.dataset()
    if (asked := state.link().data) is not None and asked not in load.clean_splits():
        known = asked in dataset.clean
        what = f"{dataset.title}, {dataset.brief(asked)}" if known else f"the fine-tuning data {quoted(asked)}"
        why = "is not on this machine" if known else f"is none of {dataset.title}'s"
        said.append(_instead("data", what, why, dataset.brief(load.clean_split())))
    for loss in load.LOSSES:
        if (asked := getattr(state.link(), loss)) is not None and asked not in load.networks(loss, dataset.name):
            why = f"is none of those for {dataset.title} here"
            said.append(_instead(loss, f"the {FIELDS[loss].doc} {quoted(asked)}", why, f"`{load.model_name(loss)}`"))
    return said


def _instead(name: str, what: str, why: str, shown: str) -> str:
    """Put a field back to its default, with all that was about it."""
    lost = [FIELDS[other].doc for other in DEPENDENTS[name] if getattr(state.link(), other) != FIELDS[other].default]
    state.choose(name, FIELDS[name].default)
    left_out = f" Left out with it: {', '.join(lost)}." if lost else ""
    return f"The link asks for {what}, which {why}; instead you see {shown}.{left_out}"


def _images() -> list[str]:
    pair = state.link().base, state.link().target
    if pair == (None, None):
        return []
    labels = load.embedded(load.model_name("lgm"), load.clean_split()).labels
    of = (
        f"{load.dataset().title}, {load.dataset().brief(load.clean_split())}, which has images 0 to {len(labels) - 1:,}"
    )
    trouble = _trouble(pair, range(len(labels)), of)
    if not trouble and labels[pair[0]] == labels[pair[1]]:
        trouble = f"both are of the class {load.class_name(int(labels[pair[0]]))}, and an attack needs two"
    return _pair("images", ("base", "target"), pair, trouble)


def _classes() -> list[str]:
    pair = state.link().base_class, state.link().target_class
    if pair == (None, None):
        return []
    classes = load.dataset().classes
    trouble = _trouble(pair, range(len(classes)), f"{load.dataset().title}, which has classes 0 to {len(classes) - 1}")
    if not trouble and pair[0] == pair[1]:
        trouble = "an attack needs two classes"
    return _pair("classes", ("base_class", "target_class"), pair, trouble)


def _gamma() -> list[str]:
    link = state.link()
    if link.method == "lm" or not link.gamma:
        return []
    state.put(gamma=0.0)
    return [f"The link asks for γ = {link.gamma:g}, which forward-backward splitting cannot minimise: γ = 0 is used."]


def _board() -> list[str]:
    """The board has a few budgets, and its attacks are numbered."""
    said, link = [], state.link()
    board = board_measure.board_of(load.model_name(link.network))
    asked = link.budget
    if board is not None and asked is not None and asked not in map(state.budget_text, board.config.budgets):
        state.put(budget=None)
        said.append(
            f"The link's {FIELDS['budget'].doc} is {quoted(asked)}, which the board has not: its heaviest is shown."
        )
    network = board.network_of(load.card(load.model_name(link.network)).weights_sha256) if board else None
    if network is not None and network.attacks and link.head not in network.heads:
        state.put(head=FIELDS["head"].default)
        said.append(
            f"The link's {FIELDS['head'].doc} is {quoted(HEAD_TITLES[link.head])}, which was not measured on this "
            f"network: {HEAD_TITLES[FIELDS['head'].default]} is shown."
        )
    count = 1 if board is None else board.config.trials
    if link.trial > count:
        state.put(trial=FIELDS["trial"].default)
        said.append(f"The link's {FIELDS['trial'].doc} is {link.trial:,}, not one of {count}: the first is shown.")
    return said


def _trouble(pair: tuple[int | None, int | None], known: Collection[int], of: str) -> str:
    if None in pair:
        return "it takes both"
    return "" if all(one in known for one in pair) else f"they are not all in {of}"


def _pair(what: str, names: tuple[str, str], pair: tuple[int | None, int | None], trouble: str) -> list[str]:
    if not trouble:
        return []
    state.put(**dict.fromkeys(names))
    base, target = ("none" if one is None else f"{one:,}" for one in pair)
    return [f"The link asks for the {what} {base} (base) and {target} (target), but {trouble}: an example is shown."]
