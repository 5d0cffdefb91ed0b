"""Networks on the Train page: all of them in a table, one from a file, and the official files of a dataset."""

from typing import Any

import pandas as pd
import streamlit as st

from lgm.data.base import DataError, Dataset
from lgm.models.card import WEIGHTS, card_path
from lgm.models.registry import SHIPPED, locate, user_folder
from ui import load, state, training_runs, uploads
from ui.dropzones import name_dropzones
from ui.job_queue import Job, QueueFull
from ui.jobs import job_panel, runner
from ui.markdown import plain
from ui.network_words import accuracy_text, held_out_accuracy, recipe_text

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
        "recipe": recipe_text(card.config),
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
        name_dropzones("train_uploads")
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
