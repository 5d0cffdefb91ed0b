"""The page "Your data" without a browser: what it says is what the package computes, and every way in ends well."""

import base64
import io
import json
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lgm.attacks.result import read_shipped_poisons
from lgm.data.base import Split
from lgm.data.store import register, registered
from lgm.data.uploads import uploads_folder
from lgm.detection.filter_run import filter_dataset
from lgm.detection.image_table import read_table
from lgm.detection.thresholds import conformal_fpr
from lgm.utils.images import png
from ui.components.kept_list import ScoredImages, axis_range
from ui.jobs import runner
from ui.your_data import drawn_share, start
from ui.your_data_upload import free_name

pytestmark = pytest.mark.page

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "pages" / "your_data.py"


def put(folder: Path, images: np.ndarray, labels: np.ndarray, kind: str) -> None:
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{kind}-{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))


@pytest.fixture
def digits(bundled: Split, fresh_home: Path, tmp_path: Path) -> Path:
    """100 digits, 8 shipped poisons under the labels that they claim, two odd files."""
    folder = tmp_path / "digits"
    put(folder, bundled.images[::50], bundled.labels[::50], "clean")
    poisons = read_shipped_poisons("mnist-lgm")
    collided = np.flatnonzero(poisons.collided)[:8]
    put(folder, poisons.images[collided], poisons.labels[collided], "poison")
    (folder / "3" / "odd.png").write_bytes(b"no image")
    (folder / "readme.txt").write_text("beside")
    return folder


@pytest.fixture
def open_page(bundled: object) -> Callable[..., AppTest]:
    def opened(**state: object) -> AppTest:
        app = AppTest.from_file(str(PAGE), default_timeout=120)
        for name, value in state.items():
            app.session_state[name] = value
        app.run()
        assert not app.exception
        return app

    return opened


def finish(app: AppTest) -> AppTest:
    """Wait for the jobs of this server, and run the page again."""
    end = time.monotonic() + 120
    while any(job.active for job in list(runner().jobs.values())) and time.monotonic() < end:
        time.sleep(0.05)
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> AppTest:
    (button,) = [button for button in app.button if button.label.startswith(label)]
    button.click().run()
    return finish(app)


def said(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.error, *app.warning, *app.info]
    return "\n".join(str(part.value) for part in parts).replace("\\", "")


def sent(app: AppTest) -> dict[str, Any]:
    """What the browser has to draw with."""
    (component,) = app.get("bidi_component")
    return json.loads(component.proto.json)


def unpacked(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def scored(open_page: Callable[..., AppTest], **state: object) -> AppTest:
    """The page once all features are there."""
    return press(open_page(**state), "Score ")


FIRST_PAINT = """
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file("pages/your_data.py", default_timeout=120).run()
assert not app.exception and any(button.label == "Score 108 images" for button in app.button)
print(*{"sklearn", "torch", "torchvision"} & set(sys.modules))
"""


def test_the_first_paint_waits_for_no_large_library(digits: Path) -> None:
    register("mine", digits)
    command = [sys.executable, "-c", FIRST_PAINT]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "\n"), found.stderr


def test_who_has_nothing_yet_is_told_what_to_bring(open_page: Callable[..., AppTest], fresh_home: Path) -> None:
    app = open_page()
    assert "No images of your own are registered yet" in said(app)
    assert "lgm data add NAME FOLDER" in said(app)
    assert [box.label for box in app.file_uploader] == ["A zip or an npz of labelled images"]
    assert not app.error


def test_the_picture_is_what_the_filter_computes(open_page: Callable[..., AppTest], digits: Path) -> None:
    register("mine", digits)
    app = scored(open_page)
    found = filter_dataset("mine", "mnist-lgm")
    assert found is not None
    kept, data = found.kept, sent(app)
    order = np.argsort(kept.score, kind="stable")
    np.testing.assert_array_equal(unpacked(data["scores"], "<f8"), kept.score[order])
    np.testing.assert_array_equal(unpacked(data["claims"], "<u4"), kept.images.labels[order])
    np.testing.assert_array_equal(unpacked(data["predicted"], "<u4"), kept.images.predicted[order])
    assert data["threshold"] == data["start"] == kept.threshold
    calibration = unpacked(data["calibration"], "<f8")
    assert len(calibration) == kept.calibrated_on == 5000
    assert conformal_fpr(kept.threshold, calibration) <= 0.02
    assert "calibrated on 5,000 clean images to remove at most 2 % of fresh ones on average" in said(app)
    assert "2 skipped" in app.expander[0].label
    assert data["floor"] < kept.score.min()
    assert data["low"] <= kept.threshold <= data["high"]


@pytest.mark.parametrize("score", ["gaussian", "log-odds"])
def test_another_dataset_vouches(score: str, open_page: Callable[..., AppTest], digits: Path, bundled: Split) -> None:
    register("mine", digits)
    put(digits.parent / "right", bundled.images[::10], bundled.labels[::10], "right")
    register("right", digits.parent / "right")
    state = {"your_data_trusted": "=right", "your_data_score": score, "your_data_fpr": 0.05, "your_data_chosen": "mine"}
    app = scored(open_page, **state)
    found = filter_dataset("mine", "mnist-lgm", trusted="right", scores=[score], fpr=0.05)
    assert found is not None
    assert found.trusted.shared == 100
    data = sent(app)
    assert data["threshold"] == found.kept.threshold
    np.testing.assert_array_equal(unpacked(data["scores"], "<f8"), np.sort(found.kept.score))
    assert len(unpacked(data["calibration"], "<f8")) == found.kept.calibrated_on
    assert "100 images of right are among the data too" in said(app)
    assert "every label of right is right" in said(app)


def test_a_share_of_the_data_is_trusted_and_not_judged(open_page: Callable[..., AppTest], digits: Path) -> None:
    register("mine", digits)
    app = scored(open_page, your_data_trusted="share", your_data_fpr=0.1)
    trusted = drawn_share(read_table("mine").labels, 0.5)
    assert len(unpacked(sent(app)["scores"], "<f8")) == (~trusted).sum()
    assert len(unpacked(sent(app)["calibration"], "<f8")) == trusted.sum()
    assert f"{trusted.sum()} images are trusted: they stay, and are not in the list." in said(app)
    assert "drawn at random, every label is right" in said(app)


def test_a_share_is_drawn_class_by_class() -> None:
    labels = np.repeat([0, 1, 2, 3], [100, 10, 2, 1])
    chosen = drawn_share(labels, 0.3)
    assert np.bincount(labels[chosen], minlength=4).tolist() == [30, 3, 1, 0]
    np.testing.assert_array_equal(chosen, drawn_share(labels, 0.3))


def test_where_nobody_is_trusted_nothing_is_promised(open_page: Callable[..., AppTest], digits: Path) -> None:
    register("mine", digits)
    app = scored(open_page, your_data_trusted="nobody", your_data_score="gaussian", your_data_fpr=0.1)
    assert unpacked(sent(app)["calibration"], "<f8").size == 0
    assert "no rate is promised" in said(app)
    assert (unpacked(sent(app)["scores"], "<f8") <= sent(app)["threshold"]).mean() == pytest.approx(0.1, abs=0.02)


def test_of_classes_that_the_network_does_not_know_only_fitted_scores_are_offered(
    open_page: Callable[..., AppTest], digits: Path
) -> None:
    (digits / "9").rename(digits / "nine")
    register("mine", digits)
    app = open_page(your_data_fpr=0.1)
    offered = {box.label: box.options for box in app.selectbox}
    assert offered["Score"] == ["gaussian", "knn"]
    assert offered["Trusted images"] == ["a share of the dataset itself", "none: fit to the data itself"]
    assert "does not know the classes nine" in said(app)
    app = press(app, "Score ")
    assert "nine" in sent(app)["names"]


def test_too_few_to_vouch_for_the_rate_is_said(open_page: Callable[..., AppTest], digits: Path) -> None:
    register("mine", digits)
    app = scored(open_page, your_data_trusted="share", your_data_fpr=0.005)
    (error,) = app.error
    assert "trusted images calibrate T, and a rate of 0.5 % needs at least 199" in error.value
    assert not app.get("bidi_component")


def test_files_that_changed_are_said_and_read_anew(open_page: Callable[..., AppTest], digits: Path) -> None:
    register("mine", digits)
    first, second = sorted((digits / "1").iterdir())[:2]
    first.unlink()
    second.write_bytes(second.read_bytes())
    app = scored(open_page)
    assert "of all 108 files looked at, 1 gone and 1 written later" in said(app)
    assert len(unpacked(sent(app)["scores"], "<f8")) == 107
    assert any("1 not readable any more" in box.label for box in app.expander)
    app = press(app, "Register it anew")
    assert "is not as it was registered" not in said(app)
    app = press(app, "Score 107 images")
    assert len(unpacked(sent(app)["scores"], "<f8")) == 107


def test_what_was_stopped_is_said_and_can_be_started_anew(open_page: Callable[..., AppTest], digits: Path) -> None:
    register("mine", digits)
    app = open_page()
    start("mine", app.session_state["your_data_network_mine"]).cancel()
    finish(app)
    assert "mine was stopped." in said(app)
    assert len(unpacked(sent(press(app, "Score 108 images"))["scores"], "<f8")) == 108


def test_a_network_of_ones_own_is_trained_on_the_train_page(digits: Path) -> None:
    register("mine", digits)
    app = AppTest.from_file(str(ROOT / "ui" / "router.py"), default_timeout=120).run()
    app.switch_page("../pages/your_data.py").run()
    assert any("lgm train --data mine --loss lgm --name mine-lgm" in block.value for block in app.code)
    next(button for button in app.button if button.label == "Train on mine").click().run()
    assert not app.exception
    assert app.title[0].value == "How does a feature space form?"
    assert {box.label: box.value for box in app.selectbox}["Dataset"] == "mine"


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            made.writestr(name, content)
    return out.getvalue()


def upload(app: AppTest, name: str, content: bytes) -> AppTest:
    app.file_uploader[0].set_value((name, content, "application/zip")).run()
    return press(app, "Add")


def test_an_upload_is_registered_shown_and_deleted(
    open_page: Callable[..., AppTest], fresh_home: Path, few: Split
) -> None:
    files = {
        f"top/{label}/{i}.png": png(image) for i, (image, label) in enumerate(zip(few.images, few.labels, strict=True))
    }
    app = upload(open_page(), "My digits (1).zip", zipped(files))
    assert registered() == ["my-digits-1"]
    assert [box.value for box in app.selectbox if box.label == "Dataset"] == ["my-digits-1"]
    app = press(app, "Score 50 images")
    assert len(unpacked(sent(app)["scores"], "<f8")) == 50
    app = press(app, "Delete it")
    assert registered() == []
    assert not any(uploads_folder().iterdir())
    assert "No images of your own are registered yet" in said(app)


def test_arrays_are_uploaded_too(open_page: Callable[..., AppTest], fresh_home: Path, few: Split) -> None:
    out = io.BytesIO()
    np.savez_compressed(out, images=few.images[:, 0], labels=few.labels)
    app = press(upload(open_page(), "few.npz", out.getvalue()), "Score 50 images")
    data = sent(app)
    assert len(unpacked(data["scores"], "<f8")) == 50
    assert data["shape"] == [1, 28, 28]


@pytest.mark.parametrize(
    ("name", "files", "sentence"),
    [
        ("a.zip", {"../../evil.png": b"x"}, "outside of its folder (../../evil.png); not unpacked"),
        ("a.zip", {"ants/1.txt": b"x", "bees/2.txt": b"y"}, "no image in any class; 2 files were skipped"),
    ],
)
def test_an_upload_that_cannot_be_used_is_refused_in_a_sentence(
    name: str, files: dict[str, bytes], sentence: str, open_page: Callable[..., AppTest], fresh_home: Path
) -> None:
    app = upload(open_page(), name, zipped(files))
    (error,) = app.error
    assert error.value.startswith("a.zip: ")
    assert sentence in error.value
    assert registered() == []
    assert not any(uploads_folder().iterdir())


def test_one_class_is_no_dataset(open_page: Callable[..., AppTest], fresh_home: Path, few: Split) -> None:
    app = upload(open_page(), "a.zip", zipped({"ants/1.png": png(few.images[0])}))
    assert [error.value for error in app.error] == [
        "a.zip: expected images of at least 2 classes, found those of 'ants'"
    ]


def test_a_name_that_is_taken_or_none_is_refused(open_page: Callable[..., AppTest], digits: Path) -> None:
    register("mine", digits)
    app = open_page()
    app.file_uploader[0].set_value(("mine.zip", zipped({"a/1.png": b"x"}), "application/zip")).run()
    (box,) = [box for box in app.text_input if box.label == "Its name"]
    assert box.placeholder == "mine-2"
    box.set_value("Mine!").run()
    next(button for button in app.button if button.label == "Add").click().run()
    assert "name: expected up to 64 of a-z, 0-9" in app.error[0].value
    assert free_name("  ../Ümlaut & Co.zip") == "mlaut-co"
    assert free_name("四.zip") == "my-data"
    assert free_name("mnist.npz") == "mnist-2"


def test_the_axis_holds_scores_of_any_kind() -> None:
    def axis(score: list[float], start: float) -> tuple[float, float, float]:
        shared: dict[str, Any] = dict.fromkeys(ScoredImages.__annotations__)
        return axis_range(
            ScoredImages(**shared | {"score": np.array(score), "calibration": np.empty(0), "start": start})
        )

    for score, at in (
        ([-1e30, -5.0, -1.0], -4.0),
        ([-np.inf, -2.0, -1.0], -1.5),
        ([0.5] * 3, 0.4),
        ([-np.inf] * 2, -np.inf),
        ([0.0, 1e-9], 0.0),
        ([-3.0, np.inf], np.inf),
    ):
        floor, low, high = axis(score, at)
        assert np.isfinite([floor, low, high]).all()
        assert floor <= low < high
        finite = [value for value in score if np.isfinite(value)]
        assert all(floor < value <= high for value in finite)
