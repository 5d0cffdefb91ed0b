"""Can an image look like *this* and mean *that*? Figure 3 of the paper."""

from typing import cast

import numpy as np
import streamlit as st

from lgm.attacks.result import Poisons
from lgm.config import GAMMA_GRID, METHODS, Method
from ui import beta_paths, load, state
from ui.beta_path_job import craft_missing, missing
from ui.beta_table import beta_table
from ui.components.beta_explorer import beta_explorer
from ui.frame import age, guard, keep_poison, poison_strip, title
from ui.own_image import choose_member
from ui.pair import OTHER, Pair, features_of, image_of, label_of
from ui.pair_picker import current_pair, draw_pair
from ui.words import WORDS

LEAD = """A poison must look like the base and have the target's features. Pick, draw or upload the two, then drag β
between the aims."""
ABOUT = """Answers **figure 3** of the paper. The poison minimises the objective below. **Levenberg–Marquardt** solves
the problem that is linear in the features exactly, with pixels kept in [0, 1], again and again; it starts from base,
target and half-way, and the poisons of all β take over each other's points, so that the way shown may begin anywhere
between base and target. **Forward-backward splitting** is the paper's method: from the base, a gradient step towards
the target's features, then a step back towards the base, 1,000 times at most. It often ends in a shallower valley, that
is, with a weaker poison. Either keeps a step only if the objective does not rise. s rescales each feature so that the
held-out images span [−1, 1]; it makes one β mean the same for both networks. All stops of the slider are made together
when a pair is picked, so that β moves at once. The second slider goes back along the way on which each poison was
found, both networks at once; one that stopped early waits for the other. "Collides" means the network takes the poison
for the target's class. The dashed ring is where the filter of the Detect page cuts: outside it, the claimed label is
too unlikely. It is drawn where the features are a plane: in a projection it would be none. With **γ** the attacker
knows of that filter and adds γ · max(0, T − log p(f(x) | base)) to what is minimised, on the LGM network: a softmax
network has no density. The lines show each term by iteration, the bars all of them where the two sliders stand, so what
is paid in one for what is gained in another. An image of your **own** is made as those of the dataset were: a digit is
scaled to fit 20 × 20 pixels and comes to lie, light on black, with its centre of mass in the middle of 28 × 28; of a
photo for CIFAR-10 the middle is taken and scaled to 32 × 32."""


def pair_bar(pair: Pair) -> beta_paths.Recipe:
    """The row above the bench: pickers, presets, method, what the attacker knows. Returns how to make the path."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for role in OTHER:
            choose_member(role, pair)
        st.button("Random pair", icon=":material/casino:", on_click=draw_pair, args=("any",))
        st.button("Easy", on_click=draw_pair, args=("near",), help="Classes with LGM means close together")
        st.button("Hard", on_click=draw_pair, args=("far",), help="Classes with LGM means far apart")
        methods = list(METHODS)
        picked = st.selectbox(
            "Method",
            methods,
            index=methods.index(state.link().method),
            format_func=METHODS.__getitem__,
            width=260,
            label_visibility="collapsed",
            help="How the poisons are made: see below",
        )
        gamma = choose_gamma() if picked == "lm" else 0.0
        state.put(method=picked, gamma=gamma)
    return beta_paths.Recipe(cast(Method, picked), gamma, load.threshold(load.model_name("lgm")))


def choose_gamma() -> float:
    """The slider of the adaptive attacker; for Levenberg-Marquardt only."""
    return st.select_slider(
        "γ: knowing of the filter",
        GAMMA_GRID,
        value=state.link().gamma,
        format_func=lambda weight: f"{weight:g}" if weight else "0: unaware",
        width=200,
        help=f"{WORDS['γ']} Every nat that the poison lacks to pass the filter adds γ to what is minimised.",
    )


def keep_beta(beta: float) -> None:
    """What the slider was let go at."""
    state.put(beta=beta)


def images_of(path: Poisons | None, pair: Pair) -> tuple[np.ndarray, int, np.ndarray, int]:
    """Both images with their labels; a path brings them along, on a machine without the data too."""
    if path is not None and path.has_pairs:
        return path.bases[0], int(path.labels[0]), path.targets[0], int(path.target_labels[0])
    return image_of(pair.base), label_of(pair.base), image_of(pair.target), label_of(pair.target)


@st.fragment
def bench(pair: Pair, recipe: beta_paths.Recipe) -> None:
    """The picture: everything about this pair, at every β that is ready."""
    names = {loss: load.model_name(loss) for loss in ("lgm", "softmax")}
    points = {loss: (features_of(name, pair.base), features_of(name, pair.target)) for loss, name in names.items()}
    beta = state.link().beta
    ready = {loss: beta_paths.ready(name, pair, recipe) for loss, name in names.items()}
    found, betas = beta_paths.side_by_side(ready, beta)
    more = bool(missing(pair, recipe)[0])
    images = None
    with guard():  # they may not be on this machine
        images = images_of(found["lgm"], pair)
    if images is None:
        return
    beta_explorer(found, images, points, betas=betas, beta=beta, more=more, key="lab", on_release=keep_beta)
    path = found["lgm"]
    state.push()
    if path is not None:
        keep_poison(path, beta_paths.nearest(beta, betas), names["lgm"], load.dataset().classes)
        poison_strip(names["lgm"], load.threshold(names["lgm"]))
        with guard():
            save({loss: path for loss, path in found.items() if path is not None}, beta_paths.nearest(beta, betas))


def save(found: dict[str, Poisons], stop: int) -> None:
    """The finished poisons at this β as files, and what 8 bits do to them; embedded only where that is opened."""
    opened = st.popover("Save these poisons", icon=":material/download:", key="save_open", on_change="rerun")
    if not opened.open:
        return
    from lgm.attacks.export import arrays, rounded
    from lgm.utils.images import png

    with opened:
        st.caption(
            "A PNG has 8 bits a channel; what rounding to them changes is measured below. The array (.npz) keeps every "
            "bit, with base, target, labels and configuration."
        )
        for loss, path in found.items():
            name, one = load.model_name(loss), path[np.array([stop])]
            st.markdown(f"**{name}**: {rounding(one, rounded(load.model(name), one))}")
            stem, of = f"poison-{name}-beta-{one.beta[0]:.3g}", load.LOSSES[loss]
            with st.container(horizontal=True):
                st.download_button(f"PNG, {of}", png(one.images[0]), f"{stem}.png", "image/png", on_click="ignore")
                st.download_button(
                    f"Array, {of}", arrays(one), f"{stem}.npz", "application/octet-stream", on_click="ignore"
                )


def rounding(before: Poisons, after: Poisons) -> str:
    """What rounding to 8 bits does to a poison, in words."""
    was, now = (load.class_name(int(poisons.predicted[0])) for poisons in (before, after))
    moved = float(np.linalg.norm(after.z - before.z))
    seen = f"seen as {was} before and after" if was == now else f"seen as {was} before, as {now} after"
    text = f"8 bits move the features by {moved:.2g}; {seen}"
    if not np.isfinite(after.score).all():
        return f"{text}."
    claimed = load.class_name(int(before.labels[0]))
    return f"{text}; log p(f(x)|{claimed}) is {before.score[0]:.3f} nats before, {after.score[0]:.3f} after."


@st.fragment
def which_beta() -> None:
    """What beta trades over many pairs, if it was measured for these networks."""
    study = load.study_of(load.model_name("lgm"), load.model_name("softmax"))
    section = st.expander("Which β? Over many pairs", icon=":material/tune:", key="beta_open", on_change="rerun")
    if not section.open:
        return
    with section:
        if study is None:
            st.caption("Not measured for these networks: `python -m lgm report --help` says how.")
            return
        from lgm.experiments.beta_selection import choose_beta
        from lgm.plots.curves import TRADED, beta_curves, traded

        rows = {loss: sweep.rows() for loss, sweep in study.tradeoff.items()}
        of = st.segmented_control(
            "What β trades",
            traded(rows),
            default="collision",
            required=True,
            format_func=lambda key: TRADED[key].name,
        )
        figure = beta_curves(rows, of or "collision")
        st.plotly_chart(
            figure, key="beta_curves", config={"displaylogo": False}, alt=f"{TRADED[of or 'collision'].name} over β"
        )
        for loss, sweep in study.tradeoff.items():
            st.markdown(f"**{sweep.model}** ({len(sweep)} pairs, `{sweep.data}`): {choose_beta(sweep).reason}")
            st.dataframe(beta_table(rows[loss]), hide_index=True, key=f"beta_{loss}")
        st.caption("In brackets: intervals of 95 %, over the pairs or, for the attacks, over the attacks.")
        age(study)


title("Can an image look like this and mean that?", LEAD)
with guard():
    pair = current_pair()
    recipe = pair_bar(pair)
    work = missing(pair, recipe)
    bench(pair, recipe)
    if work != missing(pair, recipe):
        st.rerun()  # crafting has ended while the picture was drawn
    with st.bottom:  # in sight wherever the page is scrolled to, and nothing moves when it goes
        craft_missing(pair, recipe, *work)
with guard():
    which_beta()
with st.expander("What am I looking at?"):
    st.markdown(ABOUT)
    st.latex(
        r"p=\arg\min_{x\in[0,1]^{C\times H\times W}}\;\lVert s\circ(f(x)-f(t))\rVert_2^2+\beta\,\lVert x-b\rVert_2^2"
    )
    st.page_link(
        load.PAGES / "defend.py",
        label="The hinge γ and other attackers who know of a filter, against all filters: Defend",
        icon=":material/arrow_forward:",
    )
