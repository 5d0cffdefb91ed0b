"""Which of your images would the filter remove? Algorithm 1 of the paper, step 5, on data of one's own."""

from dataclasses import replace

import streamlit as st

from lgm.data.store import read_registration, registered
from ui.components.kept_list import kept_list
from ui.frame import guard, title
from ui.job_queue import QueueFull
from ui.jobs import job_panel, show_error
from ui.markdown import plain
from ui.your_data import Answer, Question, answer, embedding, missing, start, with_images
from ui.your_data_controls import assumption, choose
from ui.your_data_download import csv
from ui.your_data_notes import explanation, left_out, say_what_changed, train_own
from ui.your_data_picture import picture
from ui.your_data_upload import adopt_finished, upload_panel

LEAD = (
    "Choose your images and a network: each image gets a score, how likely its features are under its own label. Drag "
    "T and see which would go."
)
_THRESHOLD = "your_data_threshold"  # of a session: (key of the answer, T)


def main() -> None:
    title("Which of your images would the filter remove?", LEAD, choices=False)
    adopt_finished()
    if said := st.session_state.pop("your_data_said", None):
        st.error(plain(said), icon=":material/error:")
    if with_images():
        with guard():
            show()
    else:
        first_time()
    with st.expander("Add images", icon=":material/upload:", expanded=not with_images()):
        upload_panel()
    explanation()


def first_time() -> None:
    """Nothing is registered yet."""
    only = f" ({len(registered()):,} of features alone, which `lgm filter` takes)" if registered() else ""
    st.info(f"No images of your own are registered yet{only}. Add some below.", icon=":material/add_photo_alternate:")


def show() -> None:
    question = choose()
    say_what_changed(question.data)
    lacking = missing(question)
    if lacking:
        look_at(question, lacking)
    else:
        try:
            found = answer(question)
        except ValueError as error:
            show_error(error)
        else:
            explore(question, found)
    left_out(question.data)
    train_own(question.data)


def look_at(question: Question, lacking: list[str]) -> None:
    """Features that are not there yet: how far they are, or the button that computes them."""
    st.caption(assumption(question))
    jobs = {name: embedding(name, question.network) for name in lacking}
    for name, job in jobs.items():
        if job is not None and (job.active or job.error is not None):
            job_panel(job, f"{name} on {question.network}")
        elif job is not None:
            st.caption(plain(f"{name} was stopped."))
    waiting = [name for name, job in jobs.items() if job is None or not job.active]
    if waiting:
        count = sum(read_registration(name).images for name in waiting)
        label = f"Score {count:,} images"
        if st.button(label, type="primary", icon=":material/play_arrow:", key="your_data_start"):
            try:
                for name in waiting:
                    start(name, question.network)
            except QueueFull as error:
                st.warning(str(error), icon=":material/hourglass:")
            else:
                st.rerun()


@st.fragment
def explore(question: Question, found: Answer) -> None:
    """Everything that follows T."""
    key, chosen = st.session_state.get(_THRESHOLD, ("", 0.0))
    threshold = chosen if key == found.key else found.kept.threshold

    def keep(released: float) -> None:
        st.session_state[_THRESHOLD] = (found.key, released)

    at = replace(found.kept, verdicts=(replace(found.kept.verdicts[0], threshold=threshold),))
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.caption(assumption(question), width=900)
        st.download_button(
            "Kept list (CSV)",
            lambda: csv(at),
            f"{question.data}-kept.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
            type="primary",
            help="One row an image, at this T: path, label, predicted, score, threshold, kept; as `lgm filter --out` "
            "writes it.",
        )
    kept_list(picture(found), threshold, keep, key="your_data_picture")
    trusted = f"{found.own_trusted:,} images are trusted: they stay, and are not in the list."
    said = [f"T at first: {found.promise}.", trusted * bool(found.own_trusted), *found.notes]
    st.caption(plain(" ".join(filter(None, said))))


main()
