"""What links may ask for: read within bounds, or said on the page and taken out of the address."""

import random
from dataclasses import replace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lgm.attacks.result import read_shipped_poisons
from tests.pages.test_pages import hold_crafting, opened
from ui import state
from ui.state import FIELDS, quoted

pytestmark = pytest.mark.page

PAGES = ["overview", "features", "craft", "detect", "defend", "train", "your_data", "one_shot"]
NUMBERS = [
    "-1",
    "0",
    "1",
    "7",
    "1.5",
    "99",
    "9999",
    "12345",
    "99999",
    "100000",
    "9" * 5000,
    "1e308",
    "-1e308",
    "1e-400",
]
NUMBERS += ["0.1", "-2.7466", "inf", "-inf", "nan", "٣", "1_0", "0x10"]
NAMES = ["test", "train", "bundled", "mnist", "cifar10", "fashion-mnist", "mnist-lgm", "mnist-softmax", "cifar10-lgm"]
NAMES += ["lm", "fbs", "all", "softmax", "None", "null", "true", "../../etc/passwd"]
TEXTS = ["", " ", "cake", "`[x](http://example.com)`", "<b>", "a\nb\x00", "$x$", "{0}", "%s", "é" * 500, "*_~"]


@pytest.fixture(autouse=True)
def _nothing_is_crafted(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_crafting(monkeypatch)


def told(app: AppTest) -> str:
    return "\n".join(warning.value for warning in app.warning)


@pytest.mark.parametrize("name", PAGES)
def test_whatever_a_link_says_a_page_opens_and_says_what_it_left_out(bundled: object, name: str) -> None:
    rng = random.Random(name)
    for _ in range(3):  # how links are read is tested by itself: test_link_properties.py
        link = {field: rng.choice(NUMBERS + NAMES + TEXTS) for field in rng.sample(list(FIELDS), rng.randint(1, 8))}
        app = opened(name, **link)  # without an exception
        shown = {field: state.written(getattr(app.session_state["link"], field)) for field in FIELDS}
        assert app.query_params == {field: shown[field] for field in FIELDS if shown[field] != default(field)}
        for field, text in link.items():
            if not same(text, shown[field]):
                assert FIELDS[field].doc in told(app) or (field in PAIRS and "an example is shown" in told(app)), (
                    f"{field}={text!r} became {shown[field]} in silence"
                )


PAIRS = ("base", "target", "base_class", "target_class")


def default(field: str) -> str:
    return state.written(FIELDS[field].default)


def same(asked: str, shown: str) -> bool:
    """Equal as text, or as the numbers that they are, to the six digits of a link."""
    try:
        return asked == shown or float(f"{float(asked):.6g}") == float(shown)
    except ValueError:
        return False


def test_a_pair_of_a_test_set_that_is_not_here(bundled: object) -> None:
    app = opened("craft", data="test", base="100", target="3000")
    said = told(app)
    assert "MNIST, the official test set" in said
    assert "is not on this machine; instead you see the bundled digits. Left out with it: base, target." in said
    assert app.query_params == {}
    example = read_shipped_poisons("mnist-lgm", "example")
    assert app.session_state["current_poison"].label == str(example.labels[0])


def test_a_network_that_is_not_here(bundled: object) -> None:
    app = opened("detect", lgm="unknown", threshold="-9", beta="0.1")
    assert "the LGM network `unknown`, which is none of those for MNIST here; instead you see `mnist-lgm`." in told(app)
    assert "Left out with it: T." in told(app)
    assert app.query_params == {"beta": "0.1"}


@pytest.mark.parametrize(
    ("link", "why"),
    [
        ({"base": "5", "target": "5000"}, "which has images 0 to 4,999"),
        ({"base": "5"}, "it takes both"),
        ({"base": "0", "target": "1"}, "both are of the class 0, and an attack needs two"),
        ({"base_class": "4", "target_class": "10"}, "which has classes 0 to 9"),
        ({"base_class": "4", "target_class": "4"}, "an attack needs two classes"),
    ],
)
def test_a_pair_that_makes_no_attack(bundled: object, link: dict[str, str], why: str) -> None:
    app = opened("train", **link)
    assert why in told(app)
    assert app.query_params == {}


def test_what_is_said_stays_until_it_is_closed(bundled: object) -> None:
    app = opened("features", seed="123456")
    assert "The link's seed is `123456`, not a whole number from 0 to 99,999: 1 is used instead." in told(app)
    app.switch_page("../pages/train.py").run()
    assert told(app)
    next(button for button in app.button if button.label == "Close").click().run()
    assert not told(app)


def test_a_seed_beyond_the_old_bounds_of_its_widget_is_shown(bundled: object) -> None:
    app = opened("features", seed="12345")
    assert not told(app)
    assert [box.value for box in app.number_input if "Seed" in box.label] == [12345]


def test_a_beta_between_two_stops_becomes_the_nearest_and_is_told(bundled: object) -> None:
    app = opened("craft", beta="0.0031")
    assert app.query_params == {"beta": "0.0025"}
    assert "0.0025, the nearest, is used" in told(app)


def test_a_gamma_that_the_method_cannot_minimise_is_told(bundled: object) -> None:
    app = opened("craft", method="fbs", gamma="1")
    assert app.query_params == {"method": "fbs"}
    assert "γ = 0 is used" in told(app)


@pytest.mark.parametrize("name", ["seed", "draw"])
def test_after_the_last_seed_comes_the_first(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    last: dict[str, Any] = {name: 99_999}
    held: dict[str, object] = {"link": replace(state.Link(), **last)}
    monkeypatch.setattr("streamlit.session_state", held)
    assert state.draw_next(name) == 0
    assert state.draw_next(name) == 1


def test_a_stranger_s_text_is_no_markup() -> None:
    assert quoted("[x](http://e.com)`**b**") == "`[x](http://e.com)?**b**`"
    assert quoted("a\nb") == "`a?b`"
    assert len(quoted("x" * 1000)) < 50
    assert quoted(" ") == "empty"
