"""What is a clean-label poison, and why would a Gaussian see it?"""

import pickle
from typing import TYPE_CHECKING

import streamlit as st

from lgm.attacks.references import where_they_are
from lgm.attacks.result import Poisons
from lgm.config import PAPER_BETA
from lgm.experiments.records import Study
from ui import beta_paths, load
from ui.components.beta_explorer import beta_explorer
from ui.detection_view import how_crafted
from ui.frame import age, guard, title
from ui.words import explain, term

if TYPE_CHECKING:
    from lgm.experiments.claims import Claim
    from lgm.experiments.findings import Findings

LEAD = "It looks like one thing and means another, so its label seems right. Its features may give it away."
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
        "A network trained with the Gaussian mixture (LGM) loss keeps each class in one Gaussian. So it can say "
        "how likely an image is, given the label it claims.",
        "See the features",
    ),
    (
        "pages/detect.py",
        "The filter",
        "A poison that collides sits in another class's Gaussian. Remove whatever is too unlikely under its own label "
        "before you train.",
        "Set the threshold",
    ),
)

TERMS = ("collides", "β", "γ", "T", "nats", "AUC", "TPR", "FPR", "D_f")  # of the claims


def story() -> Poisons | None:
    """The live picture: one pair for all betas, playing by itself. Returns its poisons."""
    name = load.model_name("lgm")
    path = beta_paths.example(name)
    if path is None:
        st.info(f"`{name}` has no ready-made example: craft a poison for it on the Craft page.")
        return None
    if not path.has_pairs:
        st.info(where_they_are(path.manifest), icon=":material/image:")
        return path
    z = load.embedded(name, path.manifest["split"]).z
    pair = (path.bases[0], int(path.labels[0]), path.targets[0], int(path.target_labels[0]))
    points = {"lgm": (z[path.base_index[0]], z[path.target_index[0]])}
    beta_explorer({"lgm": path}, pair, points, betas=beta_paths.stops(path), beta=PAPER_BETA, story=True, key="story")
    return path


def steps(path: Poisons | None) -> None:
    """Three steps that lead on to the other pages."""
    labels = (path.labels[0], path.target_labels[0]) if path else load.example_classes()
    base, target = (load.class_name(label) for label in labels)
    for number, (page, heading, text, link) in enumerate(STEPS, start=1):
        with st.container(border=True):
            st.markdown(
                f"**{number} · {heading}**  \n{explain(text.format(base=base, target=target))}", unsafe_allow_html=True
            )
            st.page_link(load.PAGES / page.removeprefix("pages/"), label=link, icon=":material/arrow_forward:")


# By itself, Streamlit hashes a study field by field, for longer than the rest of the page takes.
@st.cache_data(show_spinner=False, max_entries=16, hash_funcs={Study: pickle.dumps})
def judged(lgm: str, softmax: str, hashes: tuple[str, str], study: Study | None) -> "list[Claim]":
    """The paper's claims, as far as what is shipped can judge them."""
    from lgm.experiments.board.record import stored_network
    from lgm.experiments.claims import paper_claims

    return paper_claims(side(lgm), side(softmax), study, stored_network(load.dataset().name, hashes[0]))


def side(name: str) -> "Findings":
    """What is known of a network."""
    from lgm.experiments.findings import Findings

    poisons = load.poisons_or_none(name)
    clean = None if poisons is None else load.embedded(name, str(poisons.manifest["split"]))
    return Findings(load.features(name).splits[load.dataset().held_out], poisons, clean)


title("What is a clean-label poison, and why would a Gaussian see it?", LEAD)
with guard():
    left, right = st.columns([2, 1], gap="large")
    with left:
        example = story()
    with right:
        steps(example)
    names = load.model_name("lgm"), load.model_name("softmax")
    st.markdown("## The paper's claims, and what this build measured")
    hashes = load.card(names[0]).weights_sha256, load.card(names[1]).weights_sha256
    study = load.study_of(*names)
    claims = judged(*names, hashes, study)
    table = ["| Claim (section) | Measured here | Verdict |", "|---|---|---|"]
    table += [f"| {claim.text} ({claim.section}) | {claim.measured} | **{claim.verdict}** |" for claim in claims]
    st.markdown("\n".join(table))
    st.html(f"<p>In these words: {', '.join(term(word) for word in TERMS)}.</p>")
    age(study)
    with st.expander("By which rule each verdict follows"):
        st.markdown("\n".join(f"- **{claim.text}.** {claim.rule}" for claim in claims))
        st.caption(
            "Intervals are of 95 %, over images, pairs and attacks, for these two networks: another training may come "
            "out otherwise."
        )
    poisons = load.poisons_or_none(names[0])
    if poisons is not None:
        st.caption(f"From two sets like this: {how_crafted(poisons, load.dataset())}.")
