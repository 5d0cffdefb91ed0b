"""Every attacker against every defence, as it was measured: a heat map for the chosen network, and one cell of it."""

import streamlit as st

from lgm.experiments.board.advice import advice
from lgm.experiments.board.config import ALL_CLASSES, ATTACKERS, CHOICES, FILTERS, HEAD_TITLES, LAYERS
from lgm.experiments.board.findings import fewest
from lgm.experiments.board.record import DROP, Board, BoardNetwork
from lgm.experiments.effects import SUCCESS
from lgm.plots.board import MapSlice, board_map
from lgm.stats.intervals import percent_text
from lgm.utils.json import to_json
from ui import board_measure, load, state
from ui.board_cell import ChosenCell, opened_cell
from ui.defend_controls import keep, shows

_MAP = "board_map"  # key of the figure
# The text of cells lies on their colour, so it has the colour of the page's text, in either theme.
_TEXT = ".annotation-text, .textpoint *, .xtick *, .ytick *, .hoverlayer *"
_STYLE = f"<style>.st-key-{_MAP} text:is({_TEXT}) {{fill: currentColor !important;}}</style>"
_LAYERS = (
    "*All layers* are fine-tuned from logistic regression on their features, without a filter and with that by "
    "density; that takes seconds a model, and is measured for gradient matching alone. "
)
_ALL = (
    "*All classes*: the head tells all classes of the data apart, with as many clean images of each; in the "
    "heaviest budget. "
)
_TOPICS = ("No filter", "By density", "The best filter", "Heads", "Rates")  # of the advice
_NETWORKS = {"lgm": "LGM", "softmax": "softmax"}


def board() -> None:
    """The section; where no board was measured on these very weights, what it would take."""
    name = load.model_name(state.link().network)
    weights = load.card(name).weights_sha256
    found = board_measure.board_of(name)
    network = found.network_of(weights) if found else None
    shipped = load.board()
    stored = found is not None and shipped is not None and found.fingerprint == shipped.fingerprint
    if found is None or network is None or not network.attacks:
        _network_choice()
        st.markdown(f"**Not measured yet**: which attacker gets past which filter of `{name}`.")
        board_measure.offer(name)
        return
    if old := found.outdated:
        st.warning(f"These numbers are old: {old}.", icon=":material/history:")
    of = _controls(found, network)
    chosen = _chosen(network)
    left, right = st.columns([6, 7], gap="medium")
    with left:
        _map(found, network, of, chosen)
    with right:
        _pick(network, chosen)
        if chosen:
            with st.container(key="board_cell"):
                opened_cell(found, network, of, chosen)
        else:
            st.caption("A cell opens its numbers and its attacks, one by one, in the plane.")
            if stored:
                _advice(found, network, of)
    if chosen and stored:  # a few attacks, measured here, are no ground for advice
        with st.expander("What follows from the map", icon=":material/lightbulb:"):
            _advice(found, network, of)
    with st.expander("What the map shows", icon=":material/help:"):
        st.markdown(_about(found, network))
        st.download_button(
            "Board (JSON)",
            lambda: to_json(found, indent=1),
            f"{found.dataset}-board.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
        )


def _network_choice() -> None:
    key = shows("network", state.link().network)
    st.segmented_control(
        "Network", list(load.LOSSES), format_func=_NETWORKS.__getitem__, key=key, on_change=keep, args=("network",)
    )


def _controls(found: Board, network: BoardNetwork) -> MapSlice:
    """Which cells are shown: the network's, of one budget, head and rate."""
    config, link = found.config, state.link()
    budgets = {state.budget_text(budget): budget for budget in config.budgets}
    budget = link.budget if link.budget in budgets else state.budget_text(config.heaviest)
    fpr = link.fpr if link.fpr in config.fprs else config.aim
    head = link.head if link.head in network.heads else "logistic"
    with st.container(horizontal=True, gap="medium"):
        _network_choice()
        st.selectbox(
            "Poisons K, clean images a class",
            list(budgets),
            format_func=lambda name: _budget_title(*budgets[name], head),
            width=200,
            help="In brackets: poisons for 100 clean images, of all classes that the head tells apart.",
            key=shows("budget", budget),
            on_change=keep,
            args=("budget",),
        )
        st.selectbox(
            "Head",
            list(network.heads),
            format_func=network.heads.__getitem__,
            width=250,
            key=shows("head", head),
            on_change=keep,
            args=("head",),
        )
        st.segmented_control(
            "T for FPR",
            config.fprs,
            required=True,
            format_func=lambda rate: f"{100 * rate:g} %",
            key=shows("fpr", fpr),
            on_change=keep,
            args=("fpr",),
        )
    return MapSlice(budgets[budget], fpr, head)


def _budget_title(poisons: int, clean: int, head: str) -> str:
    classes = len(load.dataset().classes) if head in ALL_CLASSES else 2
    return f"K = {poisons} beside {clean} ({percent_text(poisons / (classes * clean), 0)})"


def _chosen(network: BoardNetwork) -> ChosenCell | None:
    """The cell that the link names; None if it names none."""
    link = state.link()
    if link.attacker is None:
        return None
    return ChosenCell(link.attacker, link.choice, network.density if link.filter is None else link.filter)


def _map(found: Board, network: BoardNetwork, of: MapSlice, chosen: ChosenCell | None) -> None:
    st.html(_STYLE)
    st.plotly_chart(
        board_map(found, network, of, chosen),
        key=_MAP,
        on_select=_clicked,
        selection_mode="points",
        config={"displaylogo": False, "displayModeBar": False},
        alt="Attack success in percent: attackers by filters",
    )
    st.caption(
        "Attack success in %. **Bold**: this defence does not stop this attacker. **?**: open, or untouched bases do "
        f"as much. Plain: this attacker does not refute it. "
        f"**\\***: accuracy is over {100 * DROP:g} points below the clean control's."
    )


def _clicked() -> None:
    """Open the cell that was clicked; a click beside all cells changes nothing."""
    points = st.session_state[_MAP]["selection"]["points"]
    if points:
        attacker, choice, name = points[0]["customdata"]
        state.put(attacker=attacker, choice=choice, filter=name)


def _pick(network: BoardNetwork, chosen: ChosenCell | None) -> None:
    """The same choice for who has no mouse."""
    rows = [(attack.attacker, attack.choice) for attack in network.attacks]
    row = (chosen.attacker, chosen.choice) if chosen else None
    st.session_state["board_row"] = row if row in rows else None
    name = chosen.filter if chosen else state.link().filter
    st.session_state["board_filter"] = name if name in network.filters else network.density
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        st.selectbox(
            "Attacker and target",
            rows,
            index=None,
            placeholder="Choose a cell: here, or on the map",
            format_func=lambda row: f"{row[0]}, {row[1]} target",
            key="board_row",
            on_change=_picked,
            width=290,
        )
        st.selectbox(
            "Filter",
            network.filters,
            format_func=FILTERS.__getitem__,
            key="board_filter",
            on_change=_picked,
            width=260,
        )


def _picked() -> None:
    attacker, choice = st.session_state["board_row"] or (None, state.link().choice)
    state.put(attacker=attacker, choice=choice, filter=st.session_state["board_filter"])
    if attacker is None:
        state.put(trial=state.FIELDS["trial"].default)


def _advice(found: Board, network: BoardNetwork, of: MapSlice) -> None:
    """What follows from the whole map."""
    (poisons, clean), head = network.heaviest, of.head if of.head in found.heads else "logistic"
    st.markdown(
        f"**With K = {poisons} beside {clean} clean images a class, before {HEAD_TITLES[head]} of two classes:**"
    )
    said = zip(_TOPICS, advice(found, network, head), strict=True)
    st.markdown("\n".join(f"- **{topic}.** {sentence}" for topic, sentence in said))


def _about(found: Board, network: BoardNetwork) -> str:
    config = found.config
    attackers = "\n".join(
        f"- *{name}*: {ATTACKERS[name].goal}; knows {ATTACKERS[name].knows}" for name in config.attackers
    )
    choices = "; ".join(f"*{name}*: {title}" for name, title in CHOICES.items() if name in config.choices)
    rates = " or ".join(f"{100 * rate:g} %" for rate in found.known_rates)
    heads = (_ALL if {*ALL_CLASSES} & {*network.heads} else "") + (_LAYERS if LAYERS in network.heads else "")
    aimed = f"Who knows a T knows that for {rates} FPR. " if rates else ""
    return (
        f"`{network.model}`, {load.dataset().brief(found.split)}, {config.trials} attacks a row. A number is attack "
        "success: of the attacks whose target the clean head gets right, the share that turns it. An open cell tells "
        "the same with **untouched bases** in the poisons' place, filtered alike: further images of a class, and a "
        "filter that removes clean ones, turn some targets by themselves. A defence does not stop an attacker if more "
        f"than {100 * SUCCESS:g} % of the attacks succeed, and it is the poisons that do it: where only they or only "
        "untouched bases turn the target, it is more often they; both by whole 95 % intervals. An attack can refute a "
        f"defence, and none confirms one; with fewer than {fewest()} attacks that count it stays open, even if none "
        f"succeeds, or is refuted.\n\n"
        f"Attackers, what their poisons are to have as features, and what they know:\n{attackers}\n\n"
        f"Targets: {choices}. {aimed}{heads}Measured {found.made}."
    )
