"""Text for Streamlit, which reads Markdown wherever text goes."""

import re


def plain(text: str) -> str:
    """Text that comes from outside, such as a file's name, with nothing in it that Markdown would read."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~$:])", r"\\\1", text)
