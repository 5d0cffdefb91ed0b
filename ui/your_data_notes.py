"""What stands beneath the picture of the page "Your data": what was left out, what has changed, what T promises."""

import contextlib
from collections import defaultdict
from pathlib import Path

import pandas as pd
import streamlit as st

from lgm.data.arrays import row_of
from lgm.data.scan import ImageFile
from lgm.data.store import read_images, read_registration, read_skipped, register
from ui import datasets, load
from ui.job_queue import Job, QueueFull
from ui.jobs import job_panel, runner
from ui.markdown import plain
from ui.period import period
from ui.your_data import embedding, version

_SHOWN = 1_000  # rows of a table
_LOOKED_AT = 2_000  # files whose time of change is compared


@st.cache_data(show_spinner=False, max_entries=16)
def _looked_at_files(data: str, registered: int) -> list[Path]:
    """Files of a dataset, evenly from all of them: a look at a million would take seconds."""
    del registered  # part of the key
    root, images = read_registration(data).root, read_images(data)
    found = ((row_of(root, image.path), image.path) for image in images[:: max(1, -(-len(images) // _LOOKED_AT))])
    return [row[0] if row else root / path for row, path in found]


@st.cache_data(show_spinner=False, max_entries=16)
def changed(data: str, registered: int, when: int) -> tuple[int, int, int]:
    """How many of a dataset's files were looked at, are gone, and were written after it was registered (ns)."""
    del when  # part of the key: see `period`
    files = _looked_at_files(data, registered)
    gone = newer = 0
    for file in files:
        try:
            newer += file.stat().st_mtime_ns > registered
        except OSError:
            gone += 1
    return len(files), gone, newer


def say_what_changed(data: str) -> None:
    """Files that are gone, or newer than the registration; and a button to look at them anew."""
    looked_at, gone, newer = changed(data, version(data), period())
    if not gone and not newer:
        return
    about = read_registration(data)
    of = f"all {looked_at:,}" if looked_at == about.images else f"{looked_at:,} of {about.images:,}"
    parts = [f"{gone:,} gone"] * bool(gone) + [f"{newer:,} written later"] * bool(newer)
    said = f"{data} is not as it was registered: of {of} files looked at, {' and '.join(parts)}."
    st.warning(plain(said), icon=":material/sync_problem:")
    key = f"your-again {data} {version(data)}"
    job = runner().jobs.get(key)
    if job is not None and (job.active or job.error is not None):
        job_panel(job, "Reading all files", timed=False)
    if job is None or not job.active:
        st.button(
            "Register it anew", icon=":material/refresh:", key="your_data_again", on_click=_again, args=(data, key)
        )


def _again(data: str, key: str) -> None:
    def work(job: Job) -> None:
        with contextlib.suppress(InterruptedError):  # the job knows that it was cancelled
            register(data, Path(read_registration(data).source), replace=True, on_image=job.report)

    try:
        runner().submit(key, work)
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")


def left_out(data: str) -> None:
    """Files that are no images, images that claim two classes, and files that do not read any more."""
    skipped, same = read_skipped(data), duplicates(data, version(data))
    lost = sorted({path for job in _looked_at(data) for path in job.result.unreadable})
    if not skipped and not same and not lost:
        return
    counts = [
        f"{len(skipped):,} skipped" * bool(skipped),
        f"{len(same):,} image{'s' * (len(same) > 1)} under two labels" * bool(same),
        f"{len(lost):,} not readable any more" * bool(lost),
    ]
    with st.expander(f"Files left out or doubtful: {', '.join(filter(None, counts))}", icon=":material/rule:"):
        if same:
            st.markdown(
                "**The same image under more than one label**: often the real fault, which no score can decide."
            )
            _table([{"files": ", ".join(file.path for file in files)} for files in same])
        if lost:
            st.markdown("**Registered, but not readable any more**: these have no row in the list.")
            _table([{"path": path} for path in lost])
        if skipped:
            st.markdown("**Skipped when it was registered**")
            _table([{"path": entry.path, "reason": entry.reason} for entry in skipped])


def _looked_at(data: str) -> list:
    jobs = [embedding(data, network) for network in load.models()]
    return [job for job in jobs if job is not None and job.state == "done"]


@st.cache_data(show_spinner=False, max_entries=8)
def duplicates(data: str, registered: int) -> list[tuple[ImageFile, ...]]:
    """Files of the same content in more than one class."""
    del registered  # part of the key
    same: dict[str, list[ImageFile]] = defaultdict(list)
    for image in read_images(data):
        same[image.sha256].append(image)
    return [tuple(files) for files in same.values() if len({file.label for file in files}) > 1]


def _table(rows: list[dict[str, str]]) -> None:
    st.dataframe(pd.DataFrame(rows[:_SHOWN]).map(_printable), hide_index=True, width="stretch")
    if len(rows) > _SHOWN:
        st.caption(f"Here the first {_SHOWN:,} of {len(rows):,}.")


def _printable(text: str) -> str:
    """A name that is no UTF-8 cannot be sent to a browser as it is."""
    return text.encode("utf-8", "replace").decode("utf-8")


def train_own(data: str) -> None:
    """A network of one's own: on the Train page, or from a terminal."""
    with st.expander("A network of your own", icon=":material/model_training:"):
        st.markdown(
            "A network that was trained on these classes judges them by its own Gaussians. It is in the list of "
            "networks above as soon as it is trained. Of what it was trained on it is surer than of fresh images."
        )
        if data in datasets.registered():
            if st.button(f"Train on {data}", icon=":material/model_training:", key="your_data_train"):
                st.session_state[f"train_dataset_{load.dataset().name}"] = data  # what that page offers first
                st.switch_page(load.PAGES / "train.py")
            st.markdown("From a terminal, on the machine that runs this app:")
        st.code(f"lgm train --data {data} --loss lgm --name {data}-lgm", language="bash")


def explanation() -> None:
    with st.expander("What am I looking at?", icon=":material/help:"):
        st.markdown(
            """
This is **step 5 of algorithm 1** in the paper: Bob keeps the images whose likelihood under their own label exceeds T.

- **Score.** How well an image's features fit the label that it claims; higher is cleaner. *likelihood*: under the
  Gaussians that the network was trained with. *gaussian*: under Gaussians fitted to trusted images, for any network and
  for classes that it does not know. *log-odds*: of the claimed label against all others. *knn*: minus the distance to
  the tenth nearest trusted image of the class.
- **Histogram.** Bars are your images, filled as far as T removes them; the dashed outline is where the trusted images
  lie that calibrate T. Where your clean images lie further left than these, more of them go than T promises.
- **T at first** is put where fresh clean images are removed at most at the rate you chose, on average, if they are like
  the trusted ones (split conformal prediction). *Cost in clean images* says the same of the T you dragged to: one more
  than the number of trusted images it removes, by one more than there are.
- **What goes is not all poison, and what stays is not all clean.** A wrong label, a blurred or an unusual image scores
  low too. An attacker who knows the filter makes poisons that pass it; a poison whose features have not reached the
  target's class may pass as well.
- **The list** has a row an image, as `lgm filter --out` writes it: path, label, predicted, score, threshold, kept.
"""
        )
