"""What all tests share: a home of their own, the bundled digits, and models that train in a second."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import settings
from streamlit.components.v2 import manifest_scanner

from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Split, per_class
from lgm.data.registry import load_split
from lgm.models.card import Card
from tests.make_fixtures import ENDINGS, FIXTURES, train

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, BrowserType, Page

    from lgm.models.classifier import Classifier
    from lgm.models.heads import Head

pytest.register_assert_rewrite("tests.browser.driver")  # so that a failed check there says what it found

# Before anything loads torch: the networks here are too small to share among threads, and a run that was killed in
# another process computes the same bits only with the same number of them.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["LGM_PRECISION"] = "float32"  # what is compared to the last digits is so on machines with matrix units too

# The same examples in every run: a failure is found again, and seconds are few.
settings.register_profile("suite", max_examples=50, derandomize=True, deadline=None, database=None)
settings.load_profile("suite")

_LONGEST_FIRST = ("browser", "multiprocess", "page", "slow")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that take longest come first: the short ones at the end let all workers finish together."""
    rank: dict[Path, int] = {}
    for item in items:
        own = [i for i, mark in enumerate(_LONGEST_FIRST) if item.get_closest_marker(mark)]
        rank[item.path] = min([rank.get(item.path, len(_LONGEST_FIRST)), *own])
    items.sort(key=lambda item: rank[item.path])


@pytest.fixture(scope="session", autouse=True)
def session_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """No test sees or changes the files of whoever runs it."""
    folder = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LGM_HOME", str(folder))
        patch.delenv("LGM_DATA", raising=False)
        yield folder


@pytest.fixture(scope="session", autouse=True)
def jobs_end_with_the_tests() -> Iterator[None]:
    """A job of the app that goes on while the interpreter ends would abort it: a thread may be inside torch."""
    yield
    if "ui.jobs" in sys.modules:
        from ui.jobs import runner

        runner().cancel_all()
        deadline = time.monotonic() + 60
        while any(job.active for job in list(runner().jobs.values())) and time.monotonic() < deadline:
            time.sleep(0.05)


@pytest.fixture(scope="session", autouse=True)
def packages_are_looked_through_once() -> Iterator[None]:
    """Each `AppTest` looks for components of Streamlit in all installed packages, for a tenth of a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest_scanner, "scan_component_manifests", cache(manifest_scanner.scan_component_manifests))
        yield


@pytest.fixture(scope="session")
def bundled(session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """The 5,000 digits; the CSV is parsed here, by one of the workers, and `load_split` finds it in the cache."""
    own, folder = session_home / "mnist-bundled.npz", tmp_path_factory.getbasetemp()
    shared = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / own.name
    with FileLock(shared.with_suffix(".lock")):
        if shared.exists():
            shutil.copy(shared, own)
        digits = load_split("bundled")
        if not shared.exists():
            shutil.copy(own, shared)
    return digits


@pytest.fixture(scope="session")
def digits_file(bundled: Split, session_home: Path) -> Path:
    """The file that the parsed digits are kept in."""
    return session_home / "mnist-bundled.npz"


@pytest.fixture
def fresh_home(digits_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with nothing in it but the parsed digits."""
    folder = tmp_path / "home"
    folder.mkdir()
    shutil.copy(digits_file, folder)
    monkeypatch.setenv("LGM_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def few(bundled: Split) -> Split:
    """Five digits of each class."""
    return bundled[per_class(bundled.labels, 0, 5)]


@pytest.fixture(scope="session")
def tiny_lgm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights of the preset tiny-lgm, a copy of the committed ones; `with_suffix(".json")` is the card."""
    return _committed("tiny-lgm", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_softmax(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _committed("tiny-softmax", tmp_path_factory)


@pytest.fixture(scope="session")
def tiny_wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with five features instead of two."""
    return _committed("tiny-wide", tmp_path_factory)


def _committed(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for ending in ENDINGS:
        shutil.copy(FIXTURES / f"{name}.{ending}", folder)
    return folder / f"{name}.safetensors"


@pytest.fixture(scope="session")
def trained(bundled: Split, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Tiny networks trained on this machine: for what is compared with another run here, to the bit."""
    folder = tmp_path_factory.mktemp("trained")
    return cache(lambda name: train(name, folder))


@pytest.fixture
def blank_card() -> Card:
    """A card of an untrained tiny network."""
    config = TrainConfig(phases=(Phase(model=ModelConfig(network="tiny-cnn")),))
    return Card(name="blank", config=config, weights_sha256="", feature_min=[-1.0, -4.0], feature_max=[1.0, 4.0])


_CORNERS = np.array([[-4.8, -4.8], [4.8, -4.8], [-4.8, 4.8], [4.8, 4.8]], np.float32)


@pytest.fixture(scope="session")
def blobs() -> Split:
    """Images of four classes: the halves are dark or bright, by as much as makes the features N(corner, 1)."""
    rng = np.random.default_rng(5)
    labels = rng.permutation(np.repeat(np.arange(4), 120))
    level = 0.5 + (_CORNERS[labels] + rng.standard_normal((len(labels), 2))) / 24
    images = np.repeat(level[:, None, None, :], 14, axis=3).repeat(28, axis=2) + rng.normal(0, 0.02, (1, 1, 28, 28))
    return Split("blobs", (255 * images).round().clip(0, 255).astype(np.uint8), labels)


@pytest.fixture(scope="session")
def gaussian() -> "Classifier":
    """Its features are the brightness of the left and of the right half; LGM."""
    import torch

    from lgm.models.heads import LGMHead
    from lgm.models.mixture import GaussianMixture

    return _halves(LGMHead(GaussianMixture(torch.from_numpy(_CORNERS))))


@pytest.fixture(scope="session")
def linear() -> "Classifier":
    """The same features; softmax."""
    import torch

    from lgm.models.heads import SoftmaxHead

    head = SoftmaxHead(2, len(_CORNERS))
    head.classifier.weight.data, head.classifier.bias.data = torch.from_numpy(_CORNERS.copy()), torch.zeros(4)
    return _halves(head)


def _halves(head: "Head") -> "Classifier":
    import torch
    from torch import nn

    from lgm.models.classifier import Classifier

    layer = nn.Linear(28 * 28, 2)
    left = torch.arange(28) < 14
    layer.weight.data = torch.stack([left, ~left]).float()[:, None].expand(2, 28, 28).reshape(2, -1) * 12 / (14 * 28)
    layer.bias.data.zero_()
    model = Classifier(nn.Sequential(nn.Flatten(), layer), head)
    model.feature_scale = torch.tensor([1 / 6, 1 / 7])
    return model.eval().requires_grad_(False)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict[str, object]) -> dict[str, object]:
    from tests.browser.driver import LAUNCH

    return {**browser_type_launch_args, **LAUNCH}


@pytest.fixture(scope="session")
def profile(
    browser_type: "BrowserType", browser_type_launch_args: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator["BrowserContext"]:
    """A browser that keeps what it has loaded and compiled: to open a page takes half as long."""
    from tests.browser.driver import PATIENCE, STILL

    folder = tmp_path_factory.mktemp("profile")
    with browser_type.launch_persistent_context(folder, **browser_type_launch_args) as context:
        context.set_default_navigation_timeout(PATIENCE)
        context.add_init_script(STILL)  # drawn in software, what fades or spins takes its time from what it waits for
        yield context


@pytest.fixture
def page(profile: "BrowserContext") -> Iterator["Page"]:
    """A new tab; what it stored is gone afterwards."""
    page = profile.new_page()
    yield page
    if page.url.startswith("http"):
        page.evaluate("localStorage.clear()")
    profile.clear_cookies()
    page.close()


@pytest.fixture(scope="session")
def app_url(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The running app; one server for all browser tests."""
    from tests.browser.driver import serve

    with serve(tmp_path_factory.mktemp("server") / "log", digits=digits_file) as url:
        yield url
