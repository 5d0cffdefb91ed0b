"""The Base and Target popovers of the Craft page: an image of the data, one that is drawn, or one that is uploaded."""

import numpy as np
import streamlit as st

from lgm.data.base import DataError, Dataset
from lgm.data.drawing import SIDE, drawn, read_strokes
from lgm.data.image_files import ImageFileError, read_image
from lgm.data.own_image import FRAMINGS, BlankImageError, as_image_of
from lgm.utils.images import data_url
from ui import load, pair_picker
from ui.components.draw import draw_figure
from ui.frame import enlarged, guard
from ui.markdown import plain
from ui.pair import OTHER, Member, OwnImage, Pair, Role, Seen, label_of, seen
from ui.state import quoted

_LARGEST = 16  # MiB of an upload
_SHOWN = 112  # pixels of the screen for an image, or a little less
_ORIGINS = {"data": "From the data", "draw": "Draw", "upload": "Upload"}
_HINTS = {
    "draw": "Draw with the mouse, a pen or a finger, at any place and size: what you draw is scaled and centred as the "
    "images of the data were.",
    "upload": "A picture of any format, at most {} MiB. It is cut out and scaled as the images of the data were.",
}
_CLOSING = "choose_closing"  # the role whose popover is to close with the next run
_CLASS: dict[Role, str] = {"base": "Class that it claims", "target": "Class that it is of"}


def choose_member(role: Role, pair: Pair) -> None:
    """The button that says what the base or the target is, and opens the ways to choose another."""
    member = pair.of(role)
    own = ", your own" if isinstance(member, OwnImage) else ""
    label = f"{role.capitalize()}: {_class_name(label_of(member))}{own}"
    if st.session_state.get(_CLOSING) == role:  # what is open can be set only before it is drawn
        del st.session_state[_CLOSING]
        st.session_state[f"choose_{role}"] = False
    with st.popover(label, icon=":material/image_search:", key=f"choose_{role}", on_change="rerun"):
        # A figure can be drawn where the dataset's images are figures on black.
        origins = [origin for origin in _ORIGINS if origin != "draw" or load.dataset().name in FRAMINGS]
        origin = st.segmented_control(
            f"Where the {role} comes from",
            origins,
            default="data",
            required=True,
            format_func=_ORIGINS.__getitem__,
            key=f"origin_{role}_{len(origins)}",
        )
        if origin != "data":
            own_image(role, origin)
            return
        with guard():  # the images may not be on this machine
            pair_picker.choose_image(role, pair)


@st.fragment
def own_image(role: Role, origin: str) -> None:
    """Draw or upload an image, see it as the networks do, and take it into the pair."""
    with st.container(horizontal=True), guard():  # on a phone, one below the other
        with st.container(width=SIDE):
            pixels = _drawn(role) if origin == "draw" else _uploaded(role)
        with st.container(width=320):
            if pixels is None:
                st.caption(_HINTS[origin].format(_LARGEST))
            else:
                _judge(role, pixels)
    st.caption(
        "An image of your own is not part of a link, and is gone once the page is closed or loaded anew: in its place, "
        "a link opens the first image of its class in the data."
    )


def _drawn(role: Role) -> np.ndarray | None:
    """What is on the sheet, (C, H, W) uint8; None while it is empty. Raises DataError for what no hand draws."""
    key = f"strokes_{role}"

    def keep(sent: object) -> None:
        st.session_state[key] = sent

    try:
        strokes = read_strokes(st.session_state.get(key) or [])
    except DataError:
        st.session_state[key] = strokes = []
        raise
    finally:
        draw_figure(f"The {role}, drawn", strokes, keep, key=f"sheet_{role}")
    return as_image_of(load.dataset(), drawn(strokes)) if strokes else None


def _uploaded(role: Role) -> np.ndarray | None:
    """What the uploaded file shows, (C, H, W) uint8; None while there is none. Raises DataError for no picture."""
    file = st.file_uploader(f"A picture for the {role}", key=f"picture_{role}", max_upload_size=_LARGEST)
    if file is None:
        return None
    try:
        return _read(file.getvalue(), (load.dataset().name, load.dataset().shape), load.dataset())
    except (ImageFileError, BlankImageError) as error:
        raise DataError(
            f"{quoted(file.name)} cannot be used: {error}. Expected a picture, such as a JPEG, PNG, GIF, WebP or TIFF."
        ) from error


@st.cache_data(show_spinner=False, max_entries=16)
def _read(content: bytes, key: object, _dataset: Dataset) -> np.ndarray:
    """A file as an image of a dataset, which ``key`` names: a large photo takes a second, and each click asks anew."""
    del key
    return as_image_of(_dataset, read_image(content))


def _judge(role: Role, pixels: np.ndarray) -> None:
    """Show what the networks see of an image and in it, and offer it for the pair."""
    pair, names = pair_picker.current_pair(), {loss: load.model_name(loss) for loss in load.LOSSES}
    other = pair.of(OTHER[role])

    def labelled(label: int) -> OwnImage:
        return OwnImage(pixels.tobytes(), load.dataset().shape, load.dataset().name, label)

    with st.container(horizontal=True):
        size = _SHOWN // pixels.shape[1] * pixels.shape[1] or _SHOWN  # each pixel as large as the next
        seen_as = data_url(enlarged(pixels, size))  # strokes follow each other faster than files are fetched
        st.image(seen_as, width=size, alt=f"The {role} as the networks see it", caption="As networks see it")
        with st.container(width=180):
            predicted = seen(names["lgm"], labelled(0)).predicted
            label = _choose_label(role, predicted, other)
    if label is None:
        st.warning(_no_class(OTHER[role], _class_name(predicted), taken=predicted == label_of(other)))
        return
    own = labelled(label)
    st.markdown("  \n".join(says(loss, seen(name, own), own) for loss, name in names.items()))
    for sentence in warnings(role, own, names):
        st.warning(sentence, icon=":material/warning:")
    used = pair.of(role) == own
    if st.button(f"In use as {role}" if used else f"Use as {role}", type="primary", disabled=used, key=f"use_{role}"):
        pair_picker.choose(role, own)
        st.session_state[_CLOSING] = role
        st.rerun()  # the whole page


def _choose_label(role: Role, predicted: int, other: Member) -> int | None:
    """The class of an own image, at first what the LGM network sees; None if that is the other image's."""
    classes = pair_picker.classes_beside(other)
    return st.selectbox(
        _CLASS[role],
        classes,
        index=classes.index(predicted) if predicted in classes else None,
        format_func=load.class_name,
        placeholder="Choose a class",
        key=f"own_label_{role}_{predicted}_{label_of(other)}",
    )


def _no_class(other: str, predicted: str, *, taken: bool) -> str:
    """Why the class that the LGM network sees in an image cannot be the image's, and what to do."""
    if taken:
        why = (
            f"the {other} is of this class already: an attack needs two. Choose another class here, or another {other}"
        )
        return f"The LGM network sees {predicted}, and {why} first."
    return f"The LGM network sees {predicted}, of which the data have no image. Choose another class."


def _class_name(label: int) -> str:
    """What a label means, as Markdown: folders give classes any name."""
    return plain(load.class_name(label))


def says(loss: str, found: Seen, own: OwnImage) -> str:
    """What a network makes of an image, in a sentence."""
    certain = "over 99.9 %" if found.probability > 0.9995 else f"{100 * found.probability:.1f} %"
    text = f"{load.LOSSES[loss]}: **{_class_name(found.predicted)}**, probability {certain}"
    if np.isnan(found.score):
        return text
    return f"{text}; log p(f(x)|{_class_name(own.label)}) = **{found.score:.2f}** nats"


def warnings(role: Role, own: OwnImage, names: dict[str, str]) -> list[str]:
    """What of an image makes it a base or a target that shows less than others, in sentences."""
    claimed, threshold = _class_name(own.label), load.threshold(names["lgm"])
    if role == "base":
        score = seen(names["lgm"], own).score
        if score > threshold:
            return []
        return [
            f"This image is unlikely as it is: log p(f(x)|{claimed}) = {score:.2f} nats is not above T = "
            f"{threshold:.2f}, so that the filter would remove it before anybody poisons it."
        ]
    sees = {loss: seen(name, own).predicted for loss, name in names.items()}
    return [
        f"The {load.LOSSES[loss]} sees {_class_name(predicted)}, not {claimed}: there, a poison that has this "
        f"image's features is seen as {_class_name(predicted)} too, and does not count as one that collides."
        for loss, predicted in sees.items()
        if predicted != own.label
    ]
