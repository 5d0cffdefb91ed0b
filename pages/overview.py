"""What is a clean-label poison, and why would a Gaussian see it?"""

import numpy as np
import streamlit as st

from lgm.cards import FeatureMap
from lgm.poisons import Poisons
from ui import load, paths
from ui.case import describe
from ui.frame import guard, title
from ui.lab import lab

LEAD = "It looks like one thing and means another, so its label seems right. Its features give it away."
STEPS = (
    (
        "pages/craft.py",
        "The attack",
        "Somebody adds an image to the data you fine-tune on. To people it shows **{base}**, and it says "
        "{base}; the network sees **{target}**. Training on it pulls the network's idea of {base} over a chosen "
        "{target}.",
        "Craft one",
    ),
    (
        "pages/features.py",
        "The tell",
        "A network trained with the Gaussian mixture (LGM) loss keeps each class in one round Gaussian. So it can say "
        "how likely an image is, given the label it claims.",
        "See the features",
    ),
    (
        "pages/detect.py",
        "The filter",
        "A poison sits in the wrong Gaussian. Remove whatever is too unlikely under its own label before you train.",
        "Set the threshold",
    ),
)


def story() -> Poisons | None:
    """The live picture: one pair for all betas, playing by itself. Returns its poisons."""
    name = load.model_name("lgm")
    path = paths.example(name)
    if path is None:
        st.info(f"`{name}` has no ready-made example: craft a poison for it on the Craft page.")
        return None
    z = load.embedded(name, path.manifest["split"]).z
    pair = (path.bases[0], int(path.labels[0]), path.targets[0], int(path.target_labels[0]))
    points = {"lgm": (z[path.base_index[0]], z[path.target_index[0]])}
    lab({"lgm": path}, pair, points, beta=8e-3, story=True, key="story")
    return path


def steps(path: Poisons | None) -> None:
    """Three steps that lead on to the other pages."""
    labels = (path.labels[0], path.target_labels[0]) if path else (4, 9)
    base, target = (load.class_name(label) for label in labels)
    for number, (page, heading, text, link) in enumerate(STEPS, start=1):
        with st.container(border=True):
            st.markdown(f"**{number} · {heading}**  \n{text.format(base=base, target=target)}")
            st.page_link(load.PAGES / page.removeprefix("pages/"), label=link, icon=":material/arrow_forward:")


def separation(features: FeatureMap) -> float:
    """Closest class means over the average spread within a class (root mean square a feature), on held-out images."""
    held_out = features.splits[load.dataset().held_out]
    means = np.stack([held_out.z[held_out.labels == k].mean(0) for k in range(len(features.means))])
    spread = np.sqrt(np.mean((held_out.z - means[held_out.labels]) ** 2))
    distance = np.linalg.norm(means[:, None] - means[None], axis=-1)
    return float(distance[~np.eye(len(means), dtype=bool)].min() / spread)


@st.cache_data(show_spinner=False, max_entries=16)
def claims(lgm: str, softmax: str, hashes: tuple[str, str]) -> list[tuple[str, str, str]]:
    """The paper's claims, what this build measures, and what follows: all from the shipped numbers."""
    del hashes  # part of the key
    from lgm.detection import detection_report

    apart = [separation(load.features(name)) for name in (lgm, softmax)]
    rows = [
        (
            "Classes lie farther apart under LGM than under softmax (4.2)",
            f"closest class means, in spreads within a class: **{apart[0]:.1f}** LGM, **{apart[1]:.1f}** softmax",
            "holds" if apart[0] > apart[1] else "does not hold",
        )
    ]
    ours, theirs = load.poisons_or_none(lgm), load.poisons_or_none(softmax)
    if ours is not None and theirs is not None:
        l2 = ours.l2.mean(), theirs.l2.mean()
        collide = ours.collided.mean(), theirs.collided.mean()
        rows.append(
            (
                "Poisons are more visible under LGM (4.3)",
                f"mean L2 change at equal β: **{l2[0]:.2f}** LGM, **{l2[1]:.2f}** softmax; "
                f"but they collide in **{collide[0]:.0%}** and **{collide[1]:.0%}** of the cases",
                _visibility_verdict(l2, collide),
            )
        )
    if ours is not None:
        clean = load.embedded(lgm, str(ours.manifest["split"])).score
        report = detection_report(clean, ours.score, ours.collided, fpr=0.01)
        auc, collided = report["auc"], report["auc_collided"]
        rows.append(
            (
                "Likelihood tells poisons from clean images (4.4)",
                f"AUC **{auc:.4f}** over all {len(ours)} poisons"
                + (f", **{collided:.4f}** over the {report['collided']} that collide" if collided else "")
                + f"; **{report['tpr_at_fpr']['0.01']:.1%}** caught at 1 % false positives",
                "holds" if auc > 0.9 else "does not hold",
            )
        )
    measured = "`python -m lgm defend` measures it, but not yet against an attacker who knows of the filter"
    rows.append(("Filtering prevents the attack (conclusion)", measured, "open"))
    return rows


def _visibility_verdict(l2: tuple[float, float], collide: tuple[float, float]) -> str:
    if l2[0] <= l2[1]:
        return "does not hold at equal β"
    more = ", where they also collide more often" if collide[0] > collide[1] else ""
    return f"holds at equal β{more}"


title("What is a clean-label poison, and why would a Gaussian see it?", LEAD)
with guard():
    left, right = st.columns([2, 1], gap="large")
    with left:
        example = story()
    with right:
        steps(example)
    names = load.model_name("lgm"), load.model_name("softmax")
    st.markdown("## The paper's claims, and what this build measured")
    rows = claims(*names, (load.card(names[0]).weights_sha256, load.card(names[1]).weights_sha256))
    table = ["| Claim (section) | Measured here | Verdict |", "|---|---|---|"]
    st.markdown("\n".join(table + [f"| {claim} | {measured} | **{verdict}** |" for claim, measured, verdict in rows]))
    poisons = load.poisons_or_none(names[0])
    if poisons is not None:
        st.caption(f"From two sets like this: {describe(poisons, load.dataset())}.")
