"""Browser components: what lies beside a Python file as .html, .css and .js is one component."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from ui.words import STYLE, term

_HERE = Path(__file__).parent


def declare(name: str) -> Callable[..., Any]:
    """The component made of ``ui/<name>.html``, ``.css`` and ``.js``, the latter after what all share.

    ``[[word]]`` in the HTML explains that word of `ui.words`, and ``[[word::what is shown]]`` too.
    """
    html, css, js = ((_HERE / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js"))
    html = re.sub(r"\[\[(.+?)(?:::(.+?))?\]\]", lambda found: term(found[1], found[2]), html)
    shared = (_HERE / "canvas.js").read_text(encoding="utf-8")
    return component(f"lgm_{name}", html=html, css=STYLE + css, js=shared + js)
