"""An image of one's own on the Craft page, without a browser: drawn strokes come from the session."""

import io
import time

import numpy as np
import pytest
from PIL import Image
from streamlit.testing.v1 import AppTest

from lgm.attacks.result import read_shipped_poisons
from lgm.data.base import DataError, Split
from lgm.data.drawing import drawn, read_strokes
from lgm.data.mnist import MNIST
from lgm.data.own_image import as_image_of
from lgm.models.checkpoint import embed_split, load_checkpoint
from lgm.models.features import read_features
from tests.pages.test_pages import crafted, hold_crafting, opened, words
from ui.pair import OwnImage, Pair

pytestmark = pytest.mark.page

FOUR = [[[90, 40], [70, 140], [200, 140]], [[180, 50], [170, 240]]]
NINE = [[[180, 60], [110, 50], [90, 110], [150, 140], [180, 60], [180, 160], [170, 250]]]


def draw(app: AppTest, role: str, strokes: object) -> AppTest:
    """Choose to draw, and draw this."""
    app.button_group(key=f"origin_{role}_3").set_value("draw").run()
    app.session_state[f"strokes_{role}"] = strokes
    app.run()
    assert not app.exception
    return app


def upload(app: AppTest, role: str, name: str, content: bytes) -> AppTest:
    app.button_group(key=f"origin_{role}_{3 if role_can_draw(app) else 2}").set_value("upload").run()
    app.file_uploader(key=f"picture_{role}").upload(name, content).run()
    assert not app.exception
    return app


def role_can_draw(app: AppTest) -> bool:
    return any(group.key == "origin_base_3" for group in app.button_group)


def use(app: AppTest, role: str) -> AppTest:
    app.button(key=f"use_{role}").click().run()
    assert not app.exception
    return app


def own(app: AppTest, role: str) -> OwnImage:
    return app.session_state["own_images"][role]


def file_of(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def test_a_drawn_digit_is_poisoned(bundled: Split) -> None:
    app = draw(opened("craft"), "base", FOUR)
    image = as_image_of(MNIST, drawn(read_strokes(FOUR)))
    four = embed_split(load_checkpoint("mnist-lgm")[0], Split("drawn", image[None], np.array([4])))
    assert four.predicted[0] == 4
    assert "LGM network: **4**, probability " in words(app)
    assert f"log p(f(x)|4) = **{four.score[0]:.2f}** nats" in words(app)
    assert "Softmax network: **4**, probability " in words(app)
    assert "not part of a link" in words(app)
    assert not app.warning
    assert "base" not in app.query_params, "nothing is chosen yet"
    app = crafted(use(app, "base"))
    np.testing.assert_array_equal(own(app, "base").image, image)
    example = read_shipped_poisons("mnist-lgm", "example")
    kept = app.session_state["current_poison"]
    assert (kept.label, kept.target_label, kept.predicted) == ("4", "9", "9")
    changed = np.linalg.norm(kept.image - image / 255)
    assert 0 < changed < np.linalg.norm(kept.image - example.bases[0] / 255), "it looks like what was drawn"
    assert app.button(key="use_base").disabled
    stands_for_it = int(np.flatnonzero(bundled.labels == 4)[0])
    assert app.query_params["base"] == str(stands_for_it)
    assert app.query_params["target"] == str(example.target_index[0])
    next(button for button in app.button if button.label == "Random pair").click().run()
    assert not app.exception
    assert app.session_state["own_images"] == {}


def test_both_can_be_ones_own(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        hold_crafting(patch)
        app = use(draw(opened("craft"), "base", FOUR), "base")
    ink = Image.fromarray(255 - bundled.images[bundled.labels == 7][3, 0]).resize((280, 280))
    app = upload(app, "target", "seven.jpg", file_of(ink, "JPEG"))
    app = crafted(use(app, "target"))
    kept = app.session_state["current_poison"]
    assert (kept.label, kept.target_label, kept.predicted) == ("4", "7", "7")
    assert (own(app, "base").label, own(app, "target").label) == (4, 7)
    assert own(app, "target").image.max() == 255
    assert own(app, "target").image[0, 0, 0] == 0, "dark on light became light on dark"


def test_two_images_of_one_class_are_no_pair(bundled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    hold_crafting(monkeypatch)
    app = draw(opened("craft"), "base", NINE)
    assert "sees 9, and the target is of this class already" in words(app)
    assert not [button for button in app.button if button.key == "use_base"]
    app.selectbox(key="own_label_base_9_9").set_value(7).run()
    app = use(app, "base")
    assert own(app, "base").label == 7
    offered = app.button_group(key=f"class_target_{read_shipped_poisons('mnist-lgm', 'example').target_index[0]}_7")
    assert "7" not in offered.options, "the target cannot become one of its class"


def test_an_unlikely_image_is_shown_with_a_warning(bundled: object) -> None:
    app = draw(opened("craft"), "base", FOUR)
    app.selectbox(key="own_label_base_4_9").set_value(7).run()
    features = read_features("mnist-lgm").splits["bundled"]
    assert "so that the filter would remove it before anybody poisons it" in words(app)
    assert f"is not above T = {np.quantile(features.score, 0.01):.2f}" in words(app)
    assert not app.button(key="use_base").disabled


def test_a_target_that_a_network_sees_otherwise_is_named(bundled: object) -> None:
    app = draw(opened("craft"), "target", NINE)
    assert not app.warning
    app.selectbox(key="own_label_target_9_4").set_value(3).run()
    assert "The LGM network sees 9, not 3: there, a poison" in words(app)
    assert "The Softmax network sees 9, not 3: there, a poison" in words(app)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a text.jpg", b"not a picture at all", "`a text.jpg` cannot be used: not an image."),
        ("cut.png", file_of(Image.effect_noise((64, 64), 90), "PNG")[:900], "`cut.png` cannot be used: damaged"),
        ("empty.gif", b"", "`empty.gif` cannot be used: not an image."),
        ("white.webp", file_of(Image.new("RGB", (64, 64), "white"), "WEBP"), "`white.webp` cannot be used: blank"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(bundled: object, name: str, content: bytes, said: str) -> None:
    app = upload(opened("craft"), "base", name, content)
    assert len(app.error) == 1
    assert said in app.error[0].value
    assert not [button for button in app.button if button.key == "use_base"]


def test_a_drawing_that_no_hand_made_is_refused_and_gone(bundled: object) -> None:
    app = draw(opened("craft"), "base", [[["a", 1]]])
    assert "expected points of two finite numbers" in app.error[0].value
    app.run()
    assert not app.error


def test_colour_images_are_uploaded_and_not_drawn(bundled: object) -> None:
    app = opened("craft", dataset="cifar10")
    assert app.button_group(key="origin_base_2").options == ["From the data", "Upload"]
    photo = Image.radial_gradient("L").convert("RGB")
    app = upload(app, "base", "photo.png", file_of(photo, "PNG"))
    assert "LGM network: **" in words(app)


def test_an_own_image_stays_when_the_link_is_put_back(bundled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    app = draw(opened("craft"), "base", FOUR)
    app.selectbox(key="own_label_base_4_9").set_value(7).run()
    with monkeypatch.context() as patch:
        hold_crafting(patch)
        app = use(app, "base")
    nine = OwnImage(own(app, "base").pixels, (1, 28, 28), "mnist", 9)
    app.session_state["own_images"] = {"base": nine}  # of the class of the example's target
    app.query_params.clear()
    app.run()
    app = crafted(app)
    kept = app.session_state["current_poison"]
    assert kept.label == "9"
    assert kept.target_label != "9"


def test_an_own_image_is_told_by_its_pixels_and_its_class() -> None:
    pixels, others = bytes(784), bytes([1]) + bytes(783)
    one = OwnImage(pixels, (1, 28, 28), "mnist", 4)
    assert one == OwnImage(pixels, (1, 28, 28), "mnist", 4)
    assert one != OwnImage(others, (1, 28, 28), "mnist", 4)
    assert one != OwnImage(pixels, (1, 28, 28), "mnist", 5)
    assert {Pair(one, 3): 1}[Pair(OwnImage(pixels, (1, 28, 28), "mnist", 4), 3)] == 1
    assert repr(one) != repr(OwnImage(others, (1, 28, 28), "mnist", 4)), "the key of a job is made of it"
    assert len(repr(one)) < 250


def test_two_own_images_need_no_data_on_this_machine(bundled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Split, tuple[int, int]]] = []

    def noted(
        model: object, card: object, split: Split, pair: tuple[int, int], *args: object, **options: object
    ) -> None:
        asked.append((split, pair))
        raise DataError("far enough")

    monkeypatch.setattr("lgm.attacks.craft.craft_beta_path", noted)
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32), np.uint8)
    base, target = (
        OwnImage(image.tobytes(), (3, 32, 32), "cifar10", label) for image, label in zip(images, (3, 5), strict=True)
    )
    app = opened("craft", dataset="cifar10")
    app.session_state["own_images"] = {"base": base, "target": target}
    app.run()
    assert not app.exception
    for _ in range(100):
        if asked:
            break
        time.sleep(0.05)
    split, pair = asked[-1]
    assert (split.name, split.dataset, pair, split.labels.tolist()) == ("own", "cifar10", (0, 1), [3, 5])
    np.testing.assert_array_equal(split.images, images)
