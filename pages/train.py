"""How does a feature space form? Figure 2 of the paper, epoch by epoch."""

from typing import Any, cast

import streamlit as st

from lgm.config import Loss, ModelConfig, Phase, TrainConfig
from lgm.data.base import Dataset
from lgm.data.registry import DATASETS
from ui import datasets, load, recipes, state, training_runs
from ui.frame import guard, title
from ui.network_tabs import add_network, official_files, show_networks
from ui.network_words import LOSSES, NETWORKS, data_text
from ui.run_panel import (
    begin,
    choose_run,
    followed,
    kept_text,
    list_stopped,
    resume_button,
    show,
    status,
    training_own,
)
from ui.training_runs import Run, Unfinished
from ui.words import WORDS

COVARIANCES = {"identity": "Identity, as in the paper", "diagonal": "Diagonal, learnt"}
LEAD = "Press Train and watch ten classes find their places in the plane. Then go back through the epochs."
ABOUT = """
Answers **figure 2** of the paper. Each dot is an image that no run here is trained on, at its two penultimate features
f(x). With the **LGM** loss each class owns a Gaussian, whose mean is learnt together with the network. With **softmax**
there is no density: features grow along rays from the centre.

- **α, the margin.** While training, the distance to the true class counts (1 + α)-fold: being right is not enough. α
  rises from 0 over the first 30 % of the steps: at full strength from the start all classes fall onto one point.
- **λ, the likelihood weight.** Asks each image to be likely under its own class, not only likelier than under the
  others. The filter on the Detect page lives on that.
- **Curves.** Training accuracy is counted while the weights still move, and on shifted images, so it may lie below the
  held-out one. The two closest means are those of the two classes nearest to each other: near 0 all has collapsed.
- **Runs.** This server trains one network at a time; other runs wait in line. A run stops when nobody has looked at
  this page for three minutes. *Resume* goes on after the last finished epoch, to the weights of a run never stopped.
- **Networks.** The paper's CNN has 797,161 parameters before the last layer, the tiny one 53,797, VGG19 20 million.
- **Warm start.** VGG19 learns next to nothing through a plane. So it first learns through all its 512 features, half of
  that on small images; then a plane is laid through them, and the epochs chosen above follow. What comes before the
  plane is kept, and serves every network that is trained after it.
- **From a terminal:** `python -m lgm train --help`.
"""
FORMULAS = (
    r"\mathcal L=-\frac1N\sum_i\log\frac{p(y_i)\,|\Sigma_{y_i}|^{-1/2}\,e^{-(1+\alpha)\,d_{y_i}}}"
    r"{\sum_k p(k)\,|\Sigma_k|^{-1/2}\,e^{-(1+\alpha[k=y_i])\,d_k}}"
    r"-\frac\lambda N\sum_i\log\mathcal N\big(f(x_i);\mu_{y_i},\Sigma_{y_i}\big)",
    r"d_k=\tfrac12\,\big(f(x_i)-\mu_k\big)^{\top}\Sigma_k^{-1}\big(f(x_i)-\mu_k\big)",
)
_CSS = """
<style>
.st-key-train_status {min-height: 3.9rem;}
.st-key-train_status p {font-variant-numeric: tabular-nums;}
.st-key-train_controls {gap: .55rem;}
</style>
"""


# The controls.


def choose() -> None:
    """Everything a run can be told, and the button that starts it."""
    loss = cast(Loss, pick("Loss", LOSSES, "train_loss"))
    dataset = choose_dataset()
    networks: dict[str, str] = {name: NETWORKS[name] for name in recipes.networks(dataset)}
    network = pick("Network", networks, f"train_network_{dataset.name}")
    gaussian = choose_gaussian(disabled=loss != "lgm")
    names = [name for name in ("bundled-train", "train") if name in dataset.splits]
    splits = [name for name in names if dataset.at_hand(name)]
    split = st.selectbox(
        "Training data",
        splits or names,
        format_func=lambda name: data_text(name, dataset.name),
        key=f"train_split_{dataset.name}",
    )
    left, right = st.columns(2)
    usual = recipes.usual_epochs(dataset, network)
    key = f"train_epochs_{network}" if dataset.name in DATASETS else f"train_epochs_{dataset.name}_{network}"
    epochs = left.number_input("Epochs", 1, 200, usual, key=key, persist_state="session")
    seed = right.number_input("Seed", *state.bounds("seed"), Phase().seed, key="train_seed", persist_state="session")
    suggested = training_runs.free_name(f"{'my' if dataset.name in DATASETS else dataset.name}-{loss}")
    name = st.text_input("Save as", placeholder=suggested, key="train_name", max_chars=64).strip() or suggested
    own = gaussian if loss == "lgm" else {}
    config = recipes.recipe(dataset, network, loss, split=split, epochs=epochs, seed=seed, **own)
    busy = not splits or training_own()
    left = training_runs.stopped(name)
    if left is not None:
        resume_or_begin_anew(left, config, busy=busy)
    elif st.button("Train", type="primary", icon=":material/play_arrow:", disabled=busy, width="stretch"):
        begin(lambda: training_runs.start(config, name))
    if splits:
        st.caption("The time left is shown once it runs, by its pace so far.")
    else:
        st.caption(f"{dataset.title} is not on this machine: see *Official files* below.")


def choose_dataset() -> Dataset:
    """What to train on: where images of the user's own are registered, these too, before they have a network."""
    chosen, own = load.dataset(), datasets.registered()
    if not own:
        return chosen
    names = list(dict.fromkeys([chosen.name, *load.usable(), *own]))
    picked = st.selectbox("Dataset", names, format_func=datasets.title, key=f"train_dataset_{chosen.name}")
    return datasets.find(picked) or chosen


def resume_or_begin_anew(left: Unfinished, config: TrainConfig, *, busy: bool) -> None:
    """In the place of Train, where the name is that of a stopped run."""
    st.caption(f"`{left.name}` is a stopped run. {kept_text(left)}")
    with st.container(horizontal=True):
        resume_button(left, followed(), key="resume_named")
        if st.button("Begin anew", icon=":material/restart_alt:", disabled=busy, help="Discards the epochs kept."):
            begin(lambda: training_runs.start_anew(config, left.name))


def pick(label: str, titles: dict[str, str], key: str) -> str:
    first = next(iter(titles))
    chosen = st.segmented_control(
        label,
        list(titles),
        default=first,
        required=True,
        format_func=titles.__getitem__,
        key=key,
        width="stretch",
        persist_state="session",
    )
    return chosen or first


def choose_gaussian(disabled: bool) -> dict[str, Any]:
    """What only the LGM loss has."""
    default = ModelConfig()
    left, right = st.columns(2)
    return {
        "margin": left.number_input(
            "Margin α",
            0.0,
            5.0,
            default.margin,
            0.1,
            disabled=disabled,
            key="train_margin",
            persist_state="session",
            help=WORDS["α"],
        ),
        "likelihood_weight": right.number_input(
            "Likelihood λ",
            0.0,
            1.0,
            default.likelihood_weight,
            0.05,
            disabled=disabled,
            key="train_weight",
            persist_state="session",
            help=WORDS["λ"],
        ),
        "covariance": st.selectbox(
            "Covariance",
            list(COVARIANCES),
            format_func=COVARIANCES.__getitem__,
            disabled=disabled,
            key="train_covariance",
        ),
    }


# Beneath the fold.


def more(run: Run | None) -> None:
    waiting = training_runs.unfinished()
    titles = ["Networks", "Add a network", f"Stopped runs ({len(waiting)})", "Official files", "What am I looking at?"]
    networks, add, stopped_runs, official, about = st.tabs(titles, key="train_more")
    with networks, guard():
        show_networks()
    with add, guard():
        add_network()
    with stopped_runs, guard():
        list_stopped(waiting, run)
    with official, guard():
        official_files()
    with about:
        st.markdown(ABOUT)
        for formula in FORMULAS:
            st.latex(formula)


def main() -> None:
    st.html(_CSS)
    title("How does a feature space form?", LEAD)
    run = followed()
    controls, picture = st.columns([1, 3.4], gap="medium")
    with controls, st.container(key="train_controls"), guard():
        choose()
    loss = st.session_state["train_loss"]
    with picture:
        with st.container(key="train_status"), guard():
            choose_run(run)
            status(run, loss)
        with guard():
            show(run, loss)
    more(run)


main()
