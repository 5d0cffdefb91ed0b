"""Can one photo change what is said of another? Poison Frogs' experiment, one attack at a time."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import streamlit as st

from lgm.experiments.one_shot_config import OneShotConfig
from lgm.models.pretrained import INSTALL
from lgm.plots.theme import ROLE
from lgm.utils.images import picture
from ui import one_shot
from ui.components.picker import pick_image
from ui.frame import guard, title
from ui.job_queue import Job, QueueFull
from ui.jobs import job_panel
from ui.one_shot import Ready, Shot

LEAD = (
    "A pre-trained network describes photos; a new classifier learns from clean ones and a single poison. Pick the "
    "photo to attack and the one to hide the attack in."
)
ABOUT = """**Poison Frogs** (Shafahi et al. 2018), section 3. The network is EfficientNet-Lite0, trained on ImageNet and
frozen. The poison looks like the base and claims its class, and has the features of the target: forward-backward
splitting on the objective of the Craft page, then rounded to 8 bits. The classifier is a logistic regression on the
rescaled features of the clean photos that nobody trusts, without base and target; once without the poison and once with
it. About two thirds of the photos are trusted: the filters learn from some of them and calibrate T on the others, so
that at most the share named is removed of fresh clean photos on average. `lgm bench oneshot --data NAME` attacks thirty
random pairs and counts."""
CRAFT = "Craft the poison"
OFFERED = 12  # photos a class
_STEPS = (30, 60, 150, 300)
_BETAS = (0.01, 0.03, 0.1, 0.3, 1.0)


def choose_dataset() -> str | None:
    names = one_shot.datasets()
    if not one_shot.installed():
        st.info(f"The network for photos is not installed: `{INSTALL}`", icon=":material/download:")
        return None
    if not names:
        st.info(
            "No photos are registered yet. A folder with a sub-folder a class becomes a dataset by "
            f"`lgm data add NAME FOLDER`; at most {one_shot.MOST:,} colour images are taken here.",
            icon=":material/photo_library:",
        )
        return None
    return st.selectbox("Photos", names, width=300)


def ready_photos(name: str) -> Ready | None:
    """The dataset once it is embedded; until then its progress."""
    found = one_shot.find(name)
    job = None if found else one_shot.embedding(name)
    if found is None and job is None:
        job = one_shot.make_ready(name)
    if job is not None:
        follow(job, f"Embedding the photos of {name}", "Embed the photos", lambda: one_shot.make_ready(name))
    return found


def follow(job: Job, label: str, again: str, start: Callable[[], Job]) -> None:
    """A job until it is done; what was stopped or failed begins anew only when asked to."""
    if job.state in ("cancelled", "failed"):
        if job.state == "cancelled":
            st.caption("It was stopped.")
        else:
            job_panel(job, label)  # which says why
        if not st.button(again, icon=":material/play_arrow:"):
            return
        job = start()
    job_panel(job, label)


def pick(role: str, ready: Ready, label: int) -> int:
    """A photo of a class, from those that nobody trusts; returns its position."""
    photos = ready.photos
    mine = photos.pool[photos.split.labels[photos.pool] == label]
    seed = st.session_state.get(f"one_shot_shuffle_{role}", 0)
    offered = np.sort(np.random.default_rng(seed).permutation(mine)[:OFFERED])
    slot = f"one_shot_{role}_{ready.about.name}_{label}"
    picked = int(st.session_state.get(slot, offered[0]))
    if picked not in offered:
        offered[0] = picked
    small = photos.split.images[offered][:, :, ::2, ::2]
    clicked = pick_image(f"{role} photo", small, offered.tolist(), picked, ROLE[role], key=f"one_shot_pick_{role}")
    if clicked is not None and clicked != picked:
        st.session_state[slot] = clicked
        st.rerun()
    if len(mine) > OFFERED and st.button("Others", key=f"one_shot_more_{role}", icon=":material/shuffle:"):
        st.session_state[f"one_shot_shuffle_{role}"] = seed + 1
        st.rerun()
    return picked


def choose_pair(ready: Ready) -> tuple[int, int]:
    classes = ready.about.classes
    left, right = st.columns(2, gap="large")
    with left:
        base_class = st.selectbox("Base: what the poison claims", classes, index=0)
        base = pick("base", ready, classes.index(base_class))
    with right:
        others = [name for name in classes if name != base_class]
        target_class = st.selectbox("Target: what is attacked", others, index=0)
        target = pick("target", ready, classes.index(target_class))
    return base, target


def choose_setting() -> OneShotConfig:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        beta = st.select_slider("β: weight of looking like the base", _BETAS, value=0.1, width=260)
        steps = st.select_slider("Iterations at most", _STEPS, value=60, width=260)
    return OneShotConfig(beta=float(beta), iterations=int(steps))


def attack(name: str, ready: Ready, base: int, target: int, config: OneShotConfig) -> None:
    def start() -> Job:
        return one_shot.attack(name, ready, base, target, config)

    job = one_shot.attacking(name, base, target, config)
    if job is None and st.button(CRAFT, type="primary", icon=":material/science:"):
        job = start()
    if job is not None and job.state == "done":
        show(job.result)
    elif job is not None:
        follow(job, "Crafting the poison", CRAFT, start)


def show(shot: Shot) -> None:
    found = shot.attack
    change, factor = one_shot.amplified(shot)
    pictures = (
        (shot.base, f"Base: {found.base_class}"),
        (shot.target, f"Target: {found.target_class}"),
        (shot.poison, f"Poison, claims {found.base_class}"),
        (change, f"What was changed, × {factor:.0f}"),
    )
    for column, (image, caption) in zip(st.columns(4), pictures, strict=True):
        column.image(picture(image), caption=caption, width=224, alt=caption)
    with st.container(horizontal=True, gap="large"):
        said = f"P({found.target_class}) of the target"
        st.metric(f"{said}, without the poison", f"{found.before:.1%}", width="content")
        st.metric(f"{said}, with it", f"{found.after:.1%}", width="content")
        st.metric("L2 of the change", f"{found.l2:.2f}", width="content")
        st.metric("Largest change of a pixel", f"{255 * found.linf:.0f} of 255", width="content")
    st.markdown(fate(shot))
    st.dataframe(verdicts(shot), hide_index=True, width="content")


def fate(shot: Shot) -> str:
    """What the attack did, in words."""
    found = shot.attack
    if not shot.right_before:
        return (
            "The classifier is wrong about this target **without any poison**, so that nothing is shown by this pair."
        )
    if found.success:
        return f"**The attack succeeds**: one photo more, and the target is taken for {found.base_class}."
    return f"**The attack fails**: the target is not taken for {found.base_class}. More iterations bring it nearer."


def verdicts(shot: Shot) -> pd.DataFrame:
    """What each filter does with the poison, at each rate."""
    from lgm.detection.trusted_scores import TITLES

    rows = []
    for key, name in TITLES.items():
        row = {"Filter": name}
        for fpr, threshold in shot.threshold[key].items():
            says = "caught" if shot.score[key] <= threshold else "passes"
            row[f"T for {100 * fpr:g} % FPR"] = says if np.isfinite(threshold) else "too few photos calibrate"
        rows.append(row)
    return pd.DataFrame(rows)


title("Can one photo change what is said of another?", LEAD, choices=False)
with guard():
    try:
        chosen = choose_dataset()
        ready = ready_photos(chosen) if chosen else None
        if chosen and ready is not None:
            pair = choose_pair(ready)
            attack(chosen, ready, *pair, choose_setting())
    except QueueFull as error:
        st.warning(str(error), icon=":material/hourglass:")
with st.expander("What am I looking at?"):
    st.markdown(ABOUT)
