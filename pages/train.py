"""How does a feature space form? Figure 2 of the paper, epoch by epoch."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import pandas as pd
import streamlit as st

from lgm.config import Loss, Network, TrainConfig
from lgm.data.base import DataError, Dataset
from lgm.data.registry import DATASETS
from lgm.models.card import WEIGHTS, CheckpointError, card_path
from lgm.models.features import read_gaussians
from lgm.models.registry import SHIPPED, locate, user_folder
from lgm.plots.features import projection
from lgm.stats.intervals import wilson_interval
from ui import load, state, training_runs, uploads
from ui.components.training_replay import training_replay
from ui.frame import guard, title
from ui.job_queue import Job, QueueFull
from ui.jobs import job_panel, runner, tick_while
from ui.markdown import plain
from ui.training_runs import Epoch, Run, Unfinished
from ui.words import WORDS

LOSSES = {"lgm": "LGM", "softmax": "Softmax"}
NETWORKS = {"tiny-cnn": "Tiny", "mnist-cnn": "The paper's", "vgg19": "VGG19"}
EPOCHS: dict[Network, int] = {"tiny-cnn": 12, "mnist-cnn": 6, "vgg19": 3}  # that are usually enough
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
COLUMNS = {
    "name": "Name",
    "recipe": "Recipe",
    "held_out": st.column_config.NumberColumn(
        "Held-out (%)", format="%.1f", help="Accuracy on images that no run here is trained on."
    ),
    "interval": st.column_config.TextColumn("95 % interval", help="Wilson interval of the held-out accuracy."),
    "test": st.column_config.NumberColumn("Test set (%)", format="%.2f", help="Accuracy on the official test set."),
    "closest": st.column_config.NumberColumn(
        "Closest means", format="%.2f", help="In units of the features; LGM only."
    ),
    "epochs": "Epochs",
    "origin": "Origin",
}
_CSS = """
<style>
.st-key-train_status {min-height: 3.9rem;}
.st-key-train_status p {font-variant-numeric: tabular-nums;}
.st-key-train_controls {gap: .55rem;}
</style>
"""
# Streamlit gives the place for dropped files a label and a role that denies it; without the role the label counts.
_DROPZONES = """
<script>
const mend = () => {
  for (const zone of document.querySelectorAll("[data-testid=stFileUploaderDropzone][role=presentation]"))
    zone.setAttribute("role", "group");
};
mend();
new MutationObserver(mend).observe(document.querySelector(".st-key-train_uploads"), { childList: true, subtree: true });
</script>
"""


# The controls.


def choose() -> None:
    """Everything a run can be told, and the button that starts it."""
    loss = cast(Loss, pick("Loss", LOSSES, "train_loss"))
    dataset = load.dataset()
    networks = {name: NETWORKS[name] for name in training_runs.networks(dataset.name)}
    network = cast(Network, pick("Network", networks, f"train_network_{dataset.name}"))
    gaussian = choose_gaussian(disabled=loss != "lgm")
    names = [name for name in ("bundled-train", "train") if name in dataset.splits]
    splits = [name for name in names if dataset.at_hand(name)]
    split = st.selectbox("Training data", splits or names, format_func=data_text, key=f"train_split_{dataset.name}")
    left, right = st.columns(2)
    usual = EPOCHS[network]
    epochs = left.number_input("Epochs", 1, 200, usual, key=f"train_epochs_{network}", persist_state="session")
    seed = right.number_input("Seed", 0, 99_999, 1, key="train_seed", persist_state="session")
    suggested = training_runs.free_name(f"my-{loss}")
    name = st.text_input("Save as", placeholder=suggested, key="train_name", max_chars=64).strip() or suggested
    own = gaussian if loss == "lgm" else {}
    config = training_runs.recipe(dataset.name, network, loss, split=split, epochs=epochs, seed=seed, **own)
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


def resume_or_begin_anew(left: Unfinished, config: TrainConfig, *, busy: bool) -> None:
    """In the place of Train, where the name is that of a stopped run."""
    st.caption(f"`{left.name}` is a stopped run. {kept_text(left)}")
    with st.container(horizontal=True):
        resume_button(left, followed(), key="resume_named")
        if st.button("Begin anew", icon=":material/restart_alt:", disabled=busy, help="Discards the epochs kept."):
            begin(lambda: training_runs.start_anew(config, left.name))


def data_text(split: str, dataset: str | None = None) -> str:
    """Training data in a few words; of the chosen dataset unless one is named."""
    chosen = DATASETS[dataset] if dataset else load.dataset()
    if split == "bundled-train":
        return "4,000 bundled digits"
    return f"D_C: {chosen.train_size:,} official images" if split == "train" else f"{chosen.title}, {split}"


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
    left, right = st.columns(2)
    return {
        "margin": left.number_input(
            "Margin α",
            0.0,
            5.0,
            1.0,
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
            0.1,
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


def begin(submit: Callable[[], Run]) -> None:
    """Queue a run and show it; CheckpointError is for the caller's `guard`."""
    try:
        st.session_state["train_run"] = st.session_state["train_own"] = submit()
    except QueueFull as error:
        st.warning(str(error), icon=":material/hourglass:")
    else:
        st.rerun()


def training_own() -> bool:
    """Whether a run that this session started is not over yet: one at a time is enough."""
    own: Run | None = st.session_state.get("train_own")
    return own is not None and own.job.active


# The run.


def followed() -> Run | None:
    """The run on show: this session's, else the first that is going on; a reload is another session."""
    if "train_run" not in st.session_state:
        for run in training_runs.active_runs()[:1]:
            st.session_state["train_run"] = run
    return st.session_state.get("train_run")


def choose_run(run: Run | None) -> None:
    """Which of several runs to follow."""
    going = {each.job.key: each for each in training_runs.active_runs()}
    if run is not None:
        going.setdefault(run.job.key, run)
    if len(going) > 1:
        key = f"train_follow_{run.job.key if run else ''}"
        shown = list(going).index(run.job.key) if run else None
        picked = st.selectbox("Run", list(going), shown, lambda key: going[key].name, key=key, width=260)
        if picked is not None and (run is None or picked != run.job.key):
            st.session_state["train_run"] = going[picked]
            st.rerun()


def status(run: Run | None, loss: str) -> None:
    """One place for what goes on, so that nothing below it moves."""
    if run is None:
        name = load.model_name(loss)
        st.markdown(f"Trained before: **`{name}`**, {accuracy_text(name)}")
    elif run.job.result is not None:
        finished(run)
    elif run.job.active or run.job.error is not None:
        job_panel(run.job, f"Training `{run.name}`")
    else:
        stopped(run)


def finished(run: Run) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.success(f"**`{run.name}`** is trained and saved: {accuracy_text(run.name)}", icon=":material/check:")
        use_button(run.name, key="use_new")


def stopped(run: Run) -> None:
    left_over = [one for one in training_runs.unfinished() if isinstance(one, Unfinished) and one.name == run.name]
    if not left_over:
        kept = " Its finished epochs of the warm start are kept: Train again goes on from there."
        why = "in its warm start." + kept if run.config.warm_start else "before it began."
        st.info(f"`{run.name}` was stopped {why}", icon=":material/stop:")
    for one in left_over:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(f"`{one.name}` is stopped. {kept_text(one)}", icon=":material/stop:")
            resume_button(one, run, key="resume_own")


def kept_text(run: Unfinished) -> str:
    return f"Kept: {len(run.history)} of {run.config.all_epochs} epochs."


def resume_button(one: Unfinished, run: Run | None, key: str) -> None:
    if st.button("Resume", key=key, icon=":material/play_arrow:", disabled=training_own()):
        begin(lambda: training_runs.resume(one, run))


def use_button(name: str, key: str) -> None:
    loss = load.card(name).config.model.loss
    used = load.model_name(loss) == name
    st.button(
        "In use on all pages" if used else "Use it on the other pages",
        key=key,
        icon=":material/done_all:" if used else ":material/open_in_new:",
        disabled=used,
        on_click=use,
        args=(loss, name),
    )


def use(loss: str, name: str) -> None:
    of = load.card(name).config.dataset
    if of != load.dataset().name:
        state.choose("dataset", of)
    state.choose(loss, name)


# What is shown.


def show(run: Run | None, loss: str) -> None:
    if run is None:
        show_model(load.model_name(loss))
    else:
        st.fragment(show_run, run_every=tick_while(bool(training_runs.active_runs())))(run)


def show_run(run: Run) -> None:
    """A run, as far as it is."""
    for going in training_runs.active_runs():
        going.job.watch()
    training_replay(
        list(run.job.log), run.config, title=f"{run.name}: {describe(run.config)}", identity=run.job.key, key="film"
    )


def show_model(name: str) -> None:
    """A trained network's history, and where it ended."""
    card, features = load.card(name), load.features(name)
    dataset = card.config.dataset
    seen = projection(features)
    split = training_runs.held_out(features.splits[DATASETS[dataset].held_out], dataset)
    means, sigmas = read_gaussians(locate(name))
    if not seen.exact:
        means, sigmas = None if means is None else seen(means), None  # orthonormal axes keep a round Gaussian round
    ended = Epoch(
        card.history[-1] if card.history else {"epoch": card.config.all_epochs},
        replace(split, z=seen(split.z)),
        means,
        sigmas,
    )
    epochs = [*map(Epoch, card.history[:-1]), ended]
    name = name if seen.exact else f"{name}, {seen.title}"
    training_replay(epochs, card.config, title=name, identity=f"{name} {card.weights_sha256}", key="film")


def describe(config: TrainConfig) -> str:
    model = config.model
    parts = [LOSSES[model.loss]]
    if model.loss == "lgm":
        parts.append(f"α = {model.margin:g}, λ = {model.likelihood_weight:g}")
        parts += ["diagonal covariance"] if model.covariance == "diagonal" else []
    parts.append({"tiny-cnn": "tiny network", "mnist-cnn": "the paper's network"}.get(model.network, "VGG19"))
    parts += [f"{model.n_dim} features"] if model.n_dim != 2 else []
    return ", ".join([*parts, data_text(config.split, config.dataset), f"seed {config.seed}"])


def accuracy_text(name: str) -> str:
    """How good a saved network is, with the uncertainty that so many images leave."""
    card, (share, low, high) = load.card(name), held_out_accuracy(name)
    text = f"held-out accuracy **{percent(share)}** ({100 * low:.1f} to {percent(high)})"
    if "test" in card.accuracy:
        text += f", test set **{percent(card.accuracy['test'])}**"
    if card.closest_centers is not None:
        text += f", closest class means {card.closest_centers:.2f} apart"
    return text + "."


def held_out_accuracy(name: str) -> tuple[float, float, float]:
    """Share of the images that no run here trains on, and its 95 % interval."""
    dataset = load.card(name).config.dataset
    seen = training_runs.held_out(load.features(name).splits[DATASETS[dataset].held_out], dataset)
    hits = int((seen.predicted == seen.labels).sum())
    return hits / len(seen.labels), *wilson_interval(hits, len(seen.labels))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


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


def show_networks() -> None:
    """All networks, and what can be done with each."""
    names = load.models()
    st.dataframe(
        pd.DataFrame([row(name) for name in names]),
        hide_index=True,
        column_config=COLUMNS,
        placeholder="–",
        alt="All networks",
    )
    with st.container(horizontal=True, vertical_alignment="bottom"):
        used = names.index(load.model_name("lgm"))
        name = st.selectbox("Network to use", names, index=used, key="train_pick", width=260)
        if name is not None:
            use_button(name, key="use_picked")
            if locate(name).parent == user_folder():
                download_buttons(name)
    if problems := load.unusable():
        files = "One file in the folder for models is" if len(problems) == 1 else f"{len(problems)} files are"
        with st.container(border=True, key="train_unusable"):
            st.markdown(f":material/warning: {files} of no use as a network. The others work.")
            st.markdown("\n".join(f"- {plain(problem)}" for problem in problems))


def row(name: str) -> dict[str, Any]:
    card, path = load.card(name), locate(name)
    share, low, high = held_out_accuracy(name)
    return {
        "name": name,
        "recipe": describe(card.config),
        "held_out": 100 * share,
        "interval": f"{100 * low:.1f} to {100 * high:.1f}",
        "test": 100 * card.accuracy["test"] if "test" in card.accuracy else None,
        "closest": card.closest_centers,
        "epochs": len(card.history) or None,
        "origin": "shipped" if path.parent == SHIPPED else "uploaded" if card.note else "trained here",
    }


def download_buttons(name: str) -> None:
    weights = locate(name)
    for path, what in ((weights, "weights"), (card_path(weights), "card")):
        st.download_button(
            f"Download {what}",
            path.read_bytes,
            path.name,
            on_click="ignore",
            icon=":material/download:",
            key=f"get_{what}",
        )


def add_network() -> None:
    """Weights from a file. They are measured here: no number is taken over from the file."""
    if "train_added" in st.session_state:
        st.success(st.session_state.pop("train_added"), icon=":material/check:")
    count = st.session_state.setdefault("train_uploads", 0)  # part of the keys: a new number empties the fields
    with st.container(key="train_uploads"):
        left, right = st.columns(2)
        weights = left.file_uploader(f"Weights ({', '.join(WEIGHTS)})", WEIGHTS, key=f"upload_weights_{count}")
        card = right.file_uploader(
            "Card (.json); the paper's own weights need none", "json", key=f"upload_card_{count}"
        )
        st.html(_DROPZONES, unsafe_allow_javascript=True)
    suggested = training_runs.free_name("uploaded")
    with st.container(horizontal=True, vertical_alignment="bottom"):
        name = st.text_input("Name of the new network", placeholder=suggested, key=f"upload_name_{count}", width=260)
        pressed = st.button("Check and add", icon=":material/upload:", disabled=weights is None)
    st.caption(
        "Nothing in the file is executed: tensors are read, anything else is refused. A state_dict may lie inside a "
        "training checkpoint, and carry the names that DataParallel or torch.compile add."
    )
    if pressed and weights is not None:
        with st.spinner("Checking and measuring"):
            own_card = None if card is None else card.getvalue()
            added = uploads.add_model(weights.name, weights.getvalue(), own_card, name.strip() or suggested)
        st.session_state["train_added"] = f"**`{added.name}`** is among the networks now: {accuracy_text(added.name)}"
        st.session_state["train_uploads"] += 1
        st.rerun()


def list_stopped(waiting: list[Unfinished | CheckpointError], run: Run | None) -> None:
    st.caption("Runs that were cancelled, or whose server stopped, wait here with their last finished epoch.")
    for one in waiting:
        if isinstance(one, CheckpointError):
            st.error(str(one), icon=":material/error:")
            continue
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.markdown(f"**`{one.name}`**: {describe(one.config)}. {kept_text(one)}")
            resume_button(one, run, key=f"resume_{one.name}")
            st.button(
                "Delete",
                key=f"discard_{one.name}",
                icon=":material/delete:",
                on_click=training_runs.discard,
                args=(one.name,),
            )


def official_files() -> None:
    """The one download of a dataset, and only when it is asked for."""
    dataset = load.dataset()
    key = f"download-{dataset.name}"  # one job for all sessions, because they share the folder
    job = runner().jobs.get(key)
    if all(dataset.at_hand(name) for name in dataset.splits):
        st.markdown(
            f"The official {dataset.title} files are on this machine. Train on **D_C**, or choose the test set as D_f "
            "at the top."
        )
        return
    without = (
        "shows the numbers and the poisons that come with its networks; images, crafting and training need the files"
    )
    if dataset.name == "mnist":
        without = (
            "works with the 5,000 digits that come with its packages; the files make its numbers comparable with the "
        )
        without += "paper's"
    size = dataset.download_size
    st.markdown(f"Without the official {dataset.title} files ({size}) the app {without}. Each file is checked.")
    if problem := load.closed_data():
        st.warning(plain(problem), icon=":material/lock:")
    if job is not None and (job.active or job.error is not None):
        job_panel(job, f"Official {dataset.title}")
    if job is None or not job.active:
        label = f"Download the official {dataset.title} files"
        st.button(label, icon=":material/download:", on_click=download, args=(dataset, key))


def download(dataset: Dataset, key: str) -> None:
    state.put(data=load.clean_split())  # the data on all pages stays what it is until somebody chooses

    def work(job: Job) -> None:
        def on_file(done: int, total: int, _: str) -> None:
            if not job.report(done, total):
                raise DataError("The download was stopped. Files that are complete are kept.")

        dataset.download(on_file)

    try:
        runner().submit(key, work)
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")


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
