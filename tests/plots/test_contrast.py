"""Text is readable and marks stand out in both themes: WCAG's contrast ratios, computed from the colours themselves."""

import re
import tomllib
from pathlib import Path

import pytest

from lgm.plots.theme import ROLE
from ui.words import STYLE

ROOT = Path(__file__).resolve().parents[2]
TEXT, MARK = 4.5, 3.0  # least ratios of WCAG 2.2, success criteria 1.4.3 and 1.4.11, level AA


def colours(theme: str) -> dict[str, str]:
    settings = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())["theme"]
    return {"primaryColor": settings["primaryColor"]} | settings[theme]


def rgb(colour: str) -> list[float]:
    return [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]


def luminance(channels: list[float]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(colour: str, background: str, opacity: float = 1) -> float:
    """Source: WCAG 2.2, contrast ratio; of what shines through, the mixture is what is seen."""
    mixed = [opacity * c + (1 - opacity) * b for c, b in zip(rgb(colour), rgb(background), strict=True)]
    dark, light = sorted([luminance(mixed), luminance(rgb(background))])
    return (light + 0.05) / (dark + 0.05)


def opacities() -> set[float]:
    """Of pale text of components, in CSS and on canvases; what is disabled or hidden may be paler."""
    styles = [path.read_text() for path in (ROOT / "frontend").glob("*/style.css")]
    found = {float(value) for style in styles for value in re.findall(r"[^-]opacity: ([\d.]+)", style)}
    muted = re.search(r"MUTED = ([\d.]+)", (ROOT / "frontend" / "shared" / "canvas.ts").read_text())
    assert muted
    assert {0.8, 0.85} <= found
    return {value for value in found if value > 0.5} | {float(muted[1])}


def test_the_ratio_is_that_of_wcag():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.005)
    assert contrast("#000000", "#FFFFFF", 0.5) == pytest.approx(contrast("#808080", "#FFFFFF"), rel=0.02)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_is_readable(theme: str):
    found = colours(theme)
    for background in (found["backgroundColor"], found["secondaryBackgroundColor"]):
        for name in ("textColor", "linkColor", "primaryColor"):
            assert contrast(found[name], background) >= TEXT, f"{name} on {background}"
        for opacity in opacities():
            assert contrast(found["textColor"], background, opacity) >= TEXT, f"text of opacity {opacity}"


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("role", ROLE)
def test_roles_stand_out(theme: str, role: str):
    assert contrast(ROLE[role], colours(theme)["backgroundColor"]) >= MARK


def test_explanations_of_words_are_readable():
    tip = re.search(r"background: (#\w{6}); color: (#\w{6})", STYLE)
    assert tip
    assert contrast(tip[2], tip[1]) >= TEXT
