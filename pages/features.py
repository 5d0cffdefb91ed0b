"""What did each loss do to feature space? Figures 2 and 4 of the paper."""

from typing import TYPE_CHECKING, Any

import numpy as np
import streamlit as st

from lgm.cards import locate, read_gaussians
from ui import load, state
from ui.frame import enlarged, guard, title

if TYPE_CHECKING:
    import plotly.graph_objects as go

SHOWN_POISONS = 20  # as many as in figure 4
LEAD = """Same network, same images, two losses. LGM gathers each class in a Gaussian of its own; with softmax,
classes grow outward without limit. Diamonds are poisons: coloured by the class they claim, lying near the class they
imitate. Hover or click a point; the legend switches layers."""
ABOUT = """Answers **figures 2 and 4** of the paper. Each dot is one image at its penultimate features f(x). A boxed
name marks the mean of a class: a learnt parameter of the mixture for LGM, the average over held-out images for
softmax. Rings are at one and two standard deviations: a Gaussian in the plane holds 39 % of its points within 1σ and
86 % within 2σ. The two planes have different units; crafting rescales features so that one β fits both."""


@st.cache_resource(show_spinner=False, max_entries=16)
def plane(name: str, weights_sha256: str, split: str, seed: int) -> "tuple[go.Figure, list[dict[str, Any] | None]]":
    """One network's figure, and what each of its traces holds (None: nothing to click).

    It is the same object while nothing changes, so that zoom and selection stay.
    """
    from lgm.figures import feature_plane

    features = load.features(name)
    shown = [key for key in ("train", split) if key in features.splits]
    poisons = load.poisons_or_none(name)
    if poisons is not None:
        poisons = poisons[np.random.default_rng(seed).permutation(len(poisons))[:SHOWN_POISONS]]
    _, sigmas = read_gaussians(locate(name))
    figure = feature_plane(features, shown, load.dataset().classes, poisons=poisons, sigmas=sigmas)
    return figure, [_holds(trace, name, poisons) for trace in figure.data]


def _holds(trace: Any, name: str, poisons: Any) -> dict[str, Any] | None:
    if trace.meta == "poisons":
        return {"z": poisons.z, "labels": poisons.labels, "targets": poisons.target_labels, "images": poisons.images}
    if trace.meta is not None:
        features = load.features(name).splits[trace.meta]
        return {"z": features.z, "labels": features.labels, "split": trace.meta}
    return None


@st.fragment
def explore(loss: str, heading: str) -> None:
    """A plane and, under it, the point that was clicked."""
    name = load.model_name(loss)
    card = load.card(name)
    accuracy = card.accuracy.get(load.clean_split(), float("nan"))
    centers = f" · closest means {card.closest_centers:.1f} σ apart" if card.closest_centers else ""
    st.markdown(f"**{heading}** · `{name}` · accuracy on D_f **{accuracy:.2%}**{centers}")
    figure, holds = plane(name, card.weights_sha256, load.clean_split(), state.get("seed"))
    event: Any = st.plotly_chart(
        figure,
        key=f"plane_{loss}",
        on_select="rerun",
        selection_mode="points",
        config={"scrollZoom": True, "displaylogo": False},
        alt=f"Features of {name} in the plane, coloured by class, with class means and poisons",
    )
    points = (event or {}).get("selection", {}).get("points", [])
    with st.container(border=True, height=150):
        held = holds[points[0]["curve_number"]] if points else None
        if held is None:
            st.caption("Click a point to see its image, likelihood and posterior.")
        else:
            with guard():
                details(name, held, points[0]["point_index"])


def details(name: str, held: dict[str, Any], index: int) -> None:
    """The clicked point: image, claimed label, likelihood, posterior."""
    label, z = int(held["labels"][index]), held["z"][index]
    is_poison = "targets" in held
    image = held["images"][index] if is_poison else load.image(held["split"], index)
    left, right = st.columns([1, 4], vertical_alignment="center")
    if image is None:
        left.caption("The image is in the official files, which are not on this machine.")
    else:
        left.image(enlarged(image, 104), width=104, alt=f"label {load.class_name(label)}")
    posterior, score = load.posterior(name, z, label)
    claimed = load.class_name(label)
    what = f"Label {claimed}, image {index:,}"
    if is_poison:
        what = f"Poison: claims {claimed}, target {load.class_name(held['targets'][index])}"
    best = np.argsort(posterior)[::-1][:3]
    likelihood = f"log p(f(x)|{claimed}) = **{score:.2f}** nats" if np.isfinite(score) else "no density under softmax"
    right.markdown(
        f"**{what}** · f(x) = ({', '.join(f'{value:.2f}' for value in z)})  \n{likelihood}  \nposterior: "
        + " · ".join(f"**{load.class_name(k)}** {posterior[k]:.2%}" for k in best)
    )


title("What did each loss do to feature space?", LEAD)
with guard():
    columns = st.columns(2)
    for column, loss, heading in zip(columns, ("lgm", "softmax"), ("LGM loss", "Softmax loss"), strict=True):
        with column:
            explore(loss, heading)
with st.expander("What am I looking at?"):
    st.markdown(ABOUT)
    st.latex(r"p(x)=\sum_{k=1}^{K}\mathcal N(x;\mu_k,\Sigma_k)\,p(k),\qquad p(x\mid z)=\mathcal N(x;\mu_z,\Sigma_z)")
    seed = st.number_input("Seed of the 20 poisons shown", *state.bounds("seed"), state.get("seed"), width=240)
    if seed != state.get("seed"):
        state.put("seed", int(seed))
        st.rerun()
