"""The report of a kept list: its numbers are the list's, whatever files and classes are called."""

import base64
import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lgm.data.scan import Skipped
from lgm.detection.embedded import Embedded
from lgm.detection.filter_summary import summarise
from lgm.detection.image_table import ImageTable
from lgm.detection.kept_list import KeptList, Verdict
from lgm.detection.trusted import Trusted
from lgm.experiments.records import read_study
from lgm.reports.filter_report import data_url, measured_misses, overlaps, write_filter_report
from lgm.utils.images import png

CLASSES = ("<b>cat</b>", "犬")


@pytest.fixture
def found(tmp_path: Path, rng: np.random.Generator) -> KeptList:
    """Forty images, two of which do not read any more, judged by two scores."""
    paths = [f"{i % 2}/{i:02}<i>.png" for i in range(39)] + [os.fsdecode(b"1/\xff.png")]
    for path in paths[2:]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(png(rng.integers(0, 255, (1, 28, 28), np.uint8)))
    labels = np.arange(40) % 2
    table = ImageTable("mine", True, tmp_path, CLASSES, np.array(paths, object), labels, np.zeros(40, "S32"))
    images = Embedded(table, CLASSES, labels, np.zeros((40, 2), np.float32), np.zeros(40, np.int64), ("1/gone.png",))
    first, second = np.arange(40.0), np.roll(np.arange(40.0), 3)
    return KeptList(images, (Verdict("likelihood", first, 5.0, 99), Verdict("knn", second, 7.0, 50)))


def written(found: KeptList, tmp_path: Path, trusted: Trusted) -> str:
    skipped = (Skipped("a&b.txt", "not an image"),)
    summary = summarise(found, trusted, model="net", fpr=0.02, skipped=skipped, out="kept.csv")
    write_filter_report(found, summary, (1, 28, 28), tmp_path / "r.html")
    return (tmp_path / "r.html").read_text(encoding="utf-8")


def test_its_numbers_are_those_of_the_list(found: KeptList, tmp_path: Path):
    page = written(found, tmp_path, Trusted("held-out", "mnist", None))
    assert "34 of 40 images kept, 6 removed" in page
    assert "Of the 6 removed images the network takes 3 for another class" in page
    assert overlaps(found) == [[6, 3], [3, 8]]
    assert "exchangeable with the 99\nimages of mnist that were held out" in page
    assert page.count("data:image/png;base64,") == 22, "two of the 24 do not read any more"


def test_names_are_text_and_no_markup(found: KeptList, tmp_path: Path):
    page = written(found, tmp_path, Trusted("none"))
    assert "<i>" not in page
    assert "&lt;b&gt;cat&lt;/b&gt;" in page
    assert "犬" in page
    assert "a&amp;b.txt" in page
    assert "1/gone.png" in page


def test_thumbnails_are_small(rng: np.random.Generator):
    large = data_url(rng.integers(0, 255, (3, 224, 300), np.uint8))
    head, content = large.split(",")
    assert head == "data:image/jpeg;base64"
    assert max(Image.open(BytesIO(base64.b64decode(content))).size) == 112
    grey = rng.integers(0, 255, (1, 28, 28), np.uint8)
    content = data_url(grey).removeprefix("data:image/png;base64,")
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(base64.b64decode(content)))), grey[0])


def test_what_passes_is_what_the_studies_say():
    misses = {each.network: each for each in measured_misses()}
    study = read_study("mnist")
    assert study is not None
    own = next(each for each in study.baselines if (each.poisons, each.features) == ("lgm", "lgm"))
    likelihood = next(row for row in own.detectors if row.key == "likelihood")
    assert misses["mnist-lgm"].passed == 1 - likelihood.overall.tpr_at_fpr[0.02].value
    assert misses["mnist-lgm"].poisons == 500
