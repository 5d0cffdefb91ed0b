"""Datasets come and go: the upload of a zip or an npz, followed to its end, and the deletion of one."""

import re
from pathlib import Path

import streamlit as st

from lgm.data.base import DataError
from lgm.data.registry import dataset_names
from lgm.data.store import Registration, check_name, read_registration
from lgm.data.uploads import add_upload, is_upload, remove_upload
from lgm.utils.io import SaveError
from ui.dropzones import name_dropzones
from ui.frame import guard
from ui.job_queue import Job, QueueFull
from ui.jobs import job_panel, runner
from ui.markdown import plain

LARGEST_UPLOAD = 256  # MB that a browser may send: all of it is in memory while it is unpacked
CHOSEN = "your_data_chosen"  # of a session: the dataset on show
_JOB, _COUNT = "your_data_upload_job", "your_data_uploads"
LAYOUT = """
**A zip** of image files, one folder a class (a folder around all of them does no harm):

    photos.zip
    ├── ants/   1.jpg  2.png  …
    └── bees/   3.jpg  4.webp …

**An npz** with the arrays `images` (N, H, W) or (N, H, W, C), and `labels`, a name or a number each.

**A folder on this machine** needs no upload, and may be of any size: register it with
`lgm data add NAME FOLDER`, and it is in the list above.
"""


def adopt_finished() -> None:
    """An upload of this session that is done becomes the dataset on show."""
    job = _job()
    if job is None or job.active:
        return
    if job.state == "done":
        found: Registration = job.result
        st.session_state[CHOSEN] = found.name
        st.session_state[_COUNT] = st.session_state.get(_COUNT, 0) + 1  # the box is empty again
    if job.error is None:  # an error stays on the panel
        del st.session_state[_JOB]
        runner().jobs.pop(job.key, None)  # it holds the file


def _job() -> Job | None:
    return runner().jobs.get(st.session_state.get(_JOB, ""))


def upload_panel() -> None:
    """What a dataset has to look like, the box to drop it into, and how far it is."""
    job, count = _job(), st.session_state.get(_COUNT, 0)
    left, right = st.container(key="your_data_uploads_box").columns(2, gap="medium")
    with right:
        st.markdown(LAYOUT)
    with left:
        file = st.file_uploader(
            "A zip or an npz of labelled images",
            ["zip", "npz"],
            key=f"your_data_file_{count}",
            max_upload_size=LARGEST_UPLOAD,
        )
        name_dropzones("your_data_uploads_box")
        suggested = free_name(file.name) if file else ""
        name = st.text_input("Its name", placeholder=suggested, key=f"your_data_name_{count}", max_chars=64)
        name = name.strip() or suggested
        busy = file is None or (job is not None and job.active)
        if st.button("Add", type="primary", icon=":material/upload:", disabled=busy, key="your_data_add") and file:
            with guard():
                job = _submit(name, file.name, file) or job
        if job is not None:
            job_panel(job, "Unpacking and reading", timed=False)
        st.caption(
            f"At most {LARGEST_UPLOAD} MB, 100,000 files and 2 GiB unpacked. It is kept on the machine that runs this "
            "app until you delete it; whoever may open the app sees it."
        )


def _submit(name: str, file_name: str, file: "st.runtime.uploaded_file_manager.UploadedFile") -> Job | None:
    check_name(name)
    key = f"your-upload {name} {file.file_id}"

    def work(job: Job) -> Registration | None:
        file.seek(0)
        try:
            return add_upload(name, file_name, file, job.report)[0]
        except InterruptedError:  # the job knows that it was cancelled
            return None

    old = runner().jobs.get(key)
    if old is not None and not old.active:
        del runner().jobs[key]
    try:
        job = runner().submit(key, work)
    except QueueFull as error:
        st.warning(str(error), icon=":material/hourglass:")
        return None
    st.session_state[_JOB] = key
    return job


def free_name(file_name: str) -> str:
    """A name for a dataset that is free, made of its file's."""
    stem = re.sub(r"[^a-z0-9_-]+", "-", Path(file_name).stem.lower()).strip("-_")[:56] or "my-data"
    taken = set(dataset_names())
    return next(name for name in (stem, *(f"{stem}-{i}" for i in range(2, 10_000))) if name not in taken)


def delete_button(name: str) -> None:
    """For a dataset that was uploaded: asks once more, then deletes it with its files."""
    try:
        if not is_upload(name):
            return
    except DataError:
        return
    with st.popover("Delete", icon=":material/delete:"):
        about = read_registration(name)
        st.markdown(f"Delete **{plain(name)}**, its {about.images:,} images and what the app knows of them?")
        st.button("Delete it", key=f"your_data_delete_{name}", on_click=_delete, args=(name,), type="primary")


def _delete(name: str) -> None:
    for key in [key for key in list(runner().jobs) if key.startswith(f"your-data {name} ")]:
        runner().jobs.pop(key).cancel()  # its features are of no use any more
    try:
        remove_upload(name)
    except (DataError, SaveError) as error:
        st.session_state["your_data_said"] = str(error)
    st.session_state.pop(CHOSEN, None)
