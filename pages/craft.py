"""Can an image look like *this* and mean *that*? Figure 3 of the paper."""

import contextlib
from typing import Any, cast

import numpy as np
import streamlit as st

from lgm.attacks.result import Poisons
from lgm.config import GAMMA_GRID, METHODS, Method
from lgm.plots.theme import ROLE
from ui import beta_paths, load, state
from ui.beta_table import beta_table
from ui.components.beta_explorer import beta_explorer
from ui.components.picker import pick_image
from ui.frame import age, guard, keep_poison, poison_strip, title
from ui.job_queue import QueueFull
from ui.jobs import job_panel
from ui.words import WORDS

_FOLLOWED, _STOPPED = "path_followed", "path_stopped"  # of a session: its job, and the picture it wants no more of
SHOWN = 12  # images offered per class
LEAD = "A poison must look like the base and have the target's features. Pick the two, then drag β between the aims."
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
is paid in one for what is gained in another."""


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


def choose(base: int, target: int) -> None:
    """Set the pair."""
    state.put(base=int(base), target=int(target))


def draw_pair(kind: str) -> None:
    """A new random pair: of any classes, of neighbouring ones ("near") or of distant ones ("far")."""
    seed = state.draw_next("seed")
    rng, y = np.random.default_rng(seed), labels()
    means = load.features(load.model_name("lgm")).means
    classes = [(a, b) for a in range(len(means)) for b in range(len(means)) if a != b]
    classes.sort(key=lambda ab: float(np.linalg.norm(means[ab[0]] - means[ab[1]])))
    among = {"near": classes[:10], "far": classes[-10:]}.get(kind, classes)
    a, b = among[rng.integers(len(among))]
    choose(rng.choice(np.flatnonzero(y == a)), rng.choice(np.flatnonzero(y == b)))


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
        replace_one(role, int(np.flatnonzero(y == picked)[0]))
        st.rerun()
    rng = np.random.default_rng(st.session_state.get(f"shuffle_{role}", 0))
    offered = rng.permutation(np.flatnonzero(y == shown))[:SHOWN]
    if position not in offered:
        offered[0] = position
    offered = np.sort(offered)
    images = load.split(load.clean_split()).images[offered]
    clicked = pick_image(f"{role} image", images, offered.tolist(), position, ROLE[role], key=f"pick_{role}")
    if clicked is not None and clicked != position:
        replace_one(role, clicked)
        st.rerun()
    st.button("Shuffle", key=f"more_{role}", icon=":material/shuffle:", on_click=shuffle, args=(role,))


def replace_one(role: str, position: int) -> None:
    """Set the base or the target, keeping the other."""
    base, target = current_pair()
    choose(*((position, target) if role == "base" else (base, position)))


def shuffle(role: str) -> None:
    """Offer other images of the same class."""
    st.session_state[f"shuffle_{role}"] = st.session_state.get(f"shuffle_{role}", 0) + 1


def pair_bar(base: int, target: int) -> beta_paths.Recipe:
    """The row above the bench: pickers, presets, method, what the attacker knows. Returns how to make the path."""
    y = labels()
    with st.container(horizontal=True, vertical_alignment="bottom"):
        for role, position, other in (("base", base, target), ("target", target, base)):
            shown = f"{role.capitalize()}: {load.class_name(y[position])}"
            with st.popover(shown, icon=":material/image_search:"), guard():  # the images may not be on this machine
                choose_image(role, position, other)
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
    """The slider of the attacker who knows of the filter; for Levenberg-Marquardt only."""
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


def images_of(path: Poisons | None, base: int, target: int) -> tuple[np.ndarray, int, np.ndarray, int]:
    """Both images with their labels; a path brings them along, on a machine without the data too."""
    if path is not None:
        return path.bases[0], int(path.labels[0]), path.targets[0], int(path.target_labels[0])
    split = load.split(load.clean_split())
    return split.images[base], int(split.labels[base]), split.images[target], int(split.labels[target])


@st.fragment
def bench(base: int, target: int, recipe: beta_paths.Recipe) -> None:
    """The picture: everything about this pair, at every β that is ready."""
    names = {loss: load.model_name(loss) for loss in ("lgm", "softmax")}
    features = {loss: load.embedded(name, load.clean_split()).z for loss, name in names.items()}
    points = {loss: (z[base], z[target]) for loss, z in features.items()}
    beta = state.link().beta
    ready = {loss: beta_paths.ready(name, (base, target), recipe) for loss, name in names.items()}
    found, betas = beta_paths.side_by_side(ready, beta)
    more = bool(missing(base, target, recipe)[0])
    pair = images_of(found["lgm"], base, target)
    beta_explorer(found, pair, points, betas=betas, beta=beta, more=more, key="lab", on_release=keep_beta)
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


def missing(base: int, target: int, recipe: beta_paths.Recipe) -> tuple[list[str], tuple[float, ...]]:
    """Which networks, and for which betas, the picture has no poisons of yet."""
    names = [load.model_name(loss) for loss in ("lgm", "softmax")]
    return beta_paths.next_work(names, (base, target), recipe, state.link().beta)


def craft_missing(
    base: int, target: int, recipe: beta_paths.Recipe, lacking: list[str], betas: tuple[float, ...]
) -> None:
    """Start what the picture lacks, in the background, and follow it; or say that it was stopped."""
    names = [load.model_name(loss) for loss in ("lgm", "softmax")]
    order = (lacking, (base, target), recipe, betas)
    picture = beta_paths.job_key(names, (base, target), recipe, ())
    key = beta_paths.job_key(*order)
    leave(key)
    if not lacking:
        return
    job = beta_paths.find(key)
    stopped = st.session_state.get(_STOPPED) == picture
    if job is not None and (job.state == "failed" or (stopped and job.active)):
        job_panel(job, "Crafting", timed=False)  # which says why, or that it is stopping
    if stopped or (job is not None and job.state == "failed"):
        if job is None or not job.active:
            if stopped:
                st.caption("Crafting was stopped.")
            st.button("Go on crafting", icon=":material/play_arrow:", on_click=go_on, args=order)
        return
    try:
        job = beta_paths.start(*order)
    except QueueFull as error:
        st.warning(str(error), icon=":material/hourglass:")
        return
    what = f"β = {betas[0]:g}" if len(betas) == 1 else f"{len(betas)} stops of β"
    job_panel(job, f"Crafting {what} on {' and '.join(lacking)}", on_cancel=lambda: stop(key, picture), timed=False)


def leave(key: str) -> None:
    """Cancel what was being crafted for a picture no longer shown; sessions that still want it start it anew."""
    before = beta_paths.find(st.session_state.get(_FOLLOWED, ""))
    if before is not None and before.active and before.key != key:
        before.cancel()
    st.session_state[_FOLLOWED] = key


def stop(key: str, picture: str) -> None:
    """Cancel, and craft nothing more for this picture until asked to."""
    job = beta_paths.find(key)
    if job is not None:
        job.cancel()
    st.session_state[_STOPPED] = picture


def go_on(*order: Any) -> None:
    """After a stop or a failure."""
    st.session_state.pop(_STOPPED, None)
    with contextlib.suppress(QueueFull):  # the page says so when it tries
        beta_paths.start(*order)


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
        from lgm.experiments.beta_sweep import Tradeoff
        from lgm.plots.curves import TRADED, beta_curves, traded

        sweeps = {loss: Tradeoff.from_dict(values) for loss, values in study["tradeoff"].items()}
        rows = {loss: sweep.rows() for loss, sweep in sweeps.items()}
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
        for loss, sweep in sweeps.items():
            st.markdown(f"**{sweep.model}** ({len(sweep)} pairs, `{sweep.data}`): {choose_beta(sweep).reason}")
            st.dataframe(beta_table(rows[loss]), hide_index=True, key=f"beta_{loss}")
        st.caption("In brackets: intervals of 95 %, over the pairs or, for the attacks, over the attacks.")
        age(study)


title("Can an image look like this and mean that?", LEAD)
with guard():
    base, target = current_pair()
    recipe = pair_bar(base, target)
    work = missing(base, target, recipe)
    bench(base, target, recipe)
    if work != missing(base, target, recipe):
        st.rerun()  # crafting has ended while the picture was drawn
    with st.bottom:  # in sight wherever the page is scrolled to, and nothing moves when it goes
        craft_missing(base, target, recipe, *work)
with guard():
    which_beta()
with st.expander("What am I looking at?"):
    st.markdown(ABOUT)
    st.latex(
        r"p=\arg\min_{x\in[0,1]^{C\times H\times W}}\;\lVert s\circ(f(x)-f(t))\rVert_2^2+\beta\,\lVert x-b\rVert_2^2"
    )
