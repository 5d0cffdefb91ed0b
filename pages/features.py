"""What did each loss do to feature space? Figures 2 and 4 of the paper."""

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from lgm.models.features import read_gaussians
from lgm.models.registry import locate
from lgm.plots.features import projection
from ui import load, state
from ui.frame import enlarged, guard, title
from ui.words import explain

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN_POISONS = 20  # as many as in figure 4
LEAD = """Same network, same images, two losses. LGM gathers each class in a Gaussian of its own; with softmax,
classes grow outward without limit. Diamonds are poisons: coloured by the class they claim, lying near the class they
imitate. Hover or click a point, or pick one under the plane; the legend switches layers."""
ABOUT = """Answers **figures 2 and 4** of the paper. Each dot is one image at its penultimate features f(x); of
many images a random sample is drawn, always the same, and the legend says how many. A boxed
name marks the mean of a class: a learnt parameter of the mixture for LGM, the average over held-out images for
softmax. Rings are at one and two standard deviations: a Gaussian in the plane holds 39 % of its points within 1σ and
86 % within 2σ. A network with more than two features is seen along two directions in which its class means lie round a
circle, as is said above its plane: points that lie together there may be far apart. The two planes have different
units; crafting rescales features so that one β fits both."""


@st.cache_resource(show_spinner=False, max_entries=16)
def plane(name: str, weights_sha256: str, split: str, seed: int) -> "tuple[go.Figure, list[dict[str, Any] | None]]":
    """One network's figure, and what each of its traces holds (None: nothing to click).

    It is the same object while nothing changes, so that zoom and selection stay.
    """
    from lgm.plots.features import feature_plane

    features = load.features(name)
    shown = [key for key in ("train", split) if key in features.splits]
    poisons = load.poisons_or_none(name)
    if poisons is not None:
        poisons = poisons[np.random.default_rng(seed).permutation(len(poisons))[:SHOWN_POISONS]]
    _, sigmas = read_gaussians(locate(name))
    figure = feature_plane(features, shown, load.dataset().classes, poisons=poisons, sigmas=sigmas)
    return figure, [_holds(trace, name, poisons) for trace in figure.data]


def _holds(trace: Any, name: str, poisons: Any) -> dict[str, Any] | None:
    from lgm.plots.features import drawn

    if trace.meta == "poisons":
        own = {"targets": poisons.target_labels, "images": poisons.images}
        return {"title": f"{len(poisons)} poisons", "z": poisons.z, "labels": poisons.labels, **own}
    if trace.meta is not None:
        features = load.features(name).splits[trace.meta]
        index = drawn(len(features.z))
        own = {"split": trace.meta, "index": index}
        return {"title": trace.name, "z": features.z[index], "labels": features.labels[index], **own}
    return None


@st.fragment
def explore(loss: str, heading: str) -> None:
    """A plane and, under it, one of its points: clicked, or picked by class and number."""
    name = load.model_name(loss)
    card = load.card(name)
    accuracy = card.accuracy.get(load.clean_split(), float("nan"))
    centers = f" · closest means {card.closest_centers:.1f} σ apart" if card.closest_centers else ""
    seen = projection(load.features(name))
    dimensions = "" if seen.exact else f" · {seen.title}"
    about = f"**{heading}** · `{name}` · accuracy on D_f **{accuracy:.2%}**{centers}{dimensions}"
    st.markdown(explain(about, "D_f"), unsafe_allow_html=True)
    figure, holds = plane(name, card.weights_sha256, load.clean_split(), state.link().seed)
    st.plotly_chart(
        figure,
        key=f"plane_{loss}",
        on_select=lambda: adopt_click(loss, holds),
        selection_mode="points",
        config={"scrollZoom": True, "displaylogo": False},
        alt=f"Features of {name} in the plane, coloured by class, with class means and poisons",
    )
    picked = pick_point(loss, [held for held in holds if held is not None])
    with st.container(border=True, height=150):
        if picked is None:
            st.caption(
                "Click a point, or pick one by its class and number, to see its image, likelihood and posterior."
            )
        else:
            with guard():
                details(name, *picked)


def pick_point(loss: str, layers: list[dict[str, Any]]) -> tuple[dict[str, Any], int] | None:
    """A point by layer, class and number: the way of the keyboard, which shows what was clicked as well."""
    layer, group, number = (f"{part}_{loss}" for part in ("layer", "class", "number"))
    titles, classes = [held["title"] for held in layers], list(load.dataset().classes)
    if st.session_state.get(layer) not in titles or st.session_state.get(group) not in classes:
        st.session_state.update({layer: titles[-1], group: classes[0], number: None})  # another dataset or network
    of = {"lgm": "LGM", "softmax": "softmax"}[loss]
    with st.container(horizontal=True, vertical_alignment="bottom"):
        title = st.selectbox(f"{of}: points", titles, key=layer, width=230)
        held = layers[titles.index(title)]
        label = classes.index(st.selectbox(f"{of}: class", classes, key=group, width=150))
        order = by_distance(loss, held, label)
        if (st.session_state.get(number) or 0) > len(order):
            st.session_state[number] = None
        chosen = st.number_input(
            f"{of}: number, 1 to {len(order):,}" if len(order) else f"{of}: none of this class",
            1,
            max(1, len(order)),
            None,
            key=number,
            placeholder="none",
            disabled=not len(order),
            width=190,
            help="1 is the farthest from its class mean. The arrow keys go from one to the next.",
        )
    return (held, int(order[chosen - 1])) if chosen and len(order) else None


def by_distance(loss: str, held: dict[str, Any], label: int) -> np.ndarray:
    """Positions of the points of a class, the farthest from the mean of the class first."""
    own = np.flatnonzero(held["labels"] == label)
    mean = load.features(load.model_name(loss)).means[label]
    return own[np.argsort(-np.linalg.norm(held["z"][own] - mean, axis=1), kind="stable")]


def adopt_click(loss: str, holds: list[dict[str, Any] | None]) -> None:
    """Show the clicked point in the widgets that pick one."""
    event: Any = st.session_state[f"plane_{loss}"] or {}
    points = event.get("selection", {}).get("points", [])
    held = holds[points[0]["curve_number"]] if points else None
    if held is None:
        return
    label = int(held["labels"][points[0]["point_index"]])
    order = by_distance(loss, held, label)
    st.session_state[f"layer_{loss}"] = held["title"]
    st.session_state[f"class_{loss}"] = load.class_name(label)
    st.session_state[f"number_{loss}"] = int(np.flatnonzero(order == points[0]["point_index"])[0]) + 1


def details(name: str, held: dict[str, Any], index: int) -> None:
    """The clicked point: image, claimed label, likelihood, posterior."""
    label, z = int(held["labels"][index]), held["z"][index]
    is_poison = "targets" in held
    position = index if is_poison else int(held["index"][index])  # of a large split, a sample is drawn
    image = held["images"][index] if is_poison else load.image(held["split"], position)
    left, right = st.columns([1, 4], vertical_alignment="center")
    if image is None:
        left.caption("The image is in the official files, which are not on this machine.")
    else:
        left.image(enlarged(image, 104), width=104, alt=f"label {load.class_name(label)}")
    posterior, score = load.posterior(name, z, label)
    claimed = load.class_name(label)
    what = f"Label {claimed}, image {position:,}"
    if is_poison:
        what = f"Poison: claims {claimed}, target {load.class_name(held['targets'][index])}"
    best = np.argsort(posterior)[::-1][:3]
    likelihood = f"log p(f(x)|{claimed}) = **{score:.2f}** nats" if np.isfinite(score) else "no density under softmax"
    text = (
        f"**{what}** · f(x) = ({', '.join(f'{value:.2f}' for value in z)})  \n{likelihood}  \nposterior: "
        + " · ".join(f"**{load.class_name(k)}** {posterior[k]:.2%}" for k in best)
    )
    right.markdown(explain(text, "log p(f(x)|y)", "nats"), unsafe_allow_html=True)


title("What did each loss do to feature space?", LEAD)
with guard():
    columns = st.columns(2)
    for column, loss, heading in zip(columns, ("lgm", "softmax"), ("LGM loss", "Softmax loss"), strict=True):
        with column:
            explore(loss, heading)
with st.expander("What am I looking at?"):
    st.markdown(ABOUT)
    st.latex(r"p(x)=\sum_{k=1}^{K}\mathcal N(x;\mu_k,\Sigma_k)\,p(k),\qquad p(x\mid z)=\mathcal N(x;\mu_z,\Sigma_z)")
    seed = st.number_input("Seed of the 20 poisons shown", *state.bounds("seed"), state.link().seed, width=240)
    if seed != state.link().seed:
        state.put(seed=int(seed))
        st.rerun()
