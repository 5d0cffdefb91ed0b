"""Browser components: what lies beside a Python file as .html, .css and .js is one component."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

_HERE = Path(__file__).parent


def declare(name: str) -> Callable[..., Any]:
    """The component made of ``ui/<name>.html``, ``.css`` and ``.js``, the latter after what all share."""
    html, css, js = ((_HERE / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    shared = (_HERE / "canvas.js").read_text(encoding="utf-8")
    return component(f"lgm_{name}", html=html, css=css, js=shared + js)
