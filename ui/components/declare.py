"""Browser components: each is a folder of ``frontend/``, whose script is built into ``frontend/dist/``."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.components.v2 import component

from ui.words import STYLE, term

_FRONTEND = Path(__file__).resolve().parents[2] / "frontend"


def declare(name: str) -> Callable[..., Any]:
    """The component of the folder ``name``.

    ``[[word]]`` in its HTML explains that word of `ui.words`, and ``[[word::what is shown]]`` too. A file that its CSS
    imports is put in its place: the page has no address for it.
    """
    files = (f"{name}/index.html", f"{name}/style.css", f"dist/{name}.js")
    html, css, js = ((_FRONTEND / file).read_text(encoding="utf-8") for file in files)
    css = re.sub(r'@import "\.\./(.+?)";', lambda found: (_FRONTEND / found[1]).read_text(encoding="utf-8"), css)
    html = re.sub(r"\[\[(.+?)(?:::(.+?))?\]\]", lambda found: term(found[1], found[2]), html)
    return component(f"lgm_{name}", html=html, css=STYLE + css, js=js)
