"""Standard output and error with encodings that lack letters, and with closed pipes."""

import codecs
import io
import os
import sys
import unicodedata

_ERRORS = "lgm.readable"  # name of the error handler
_PLAIN = {"–": "-", "—": "-", "−": "-", "×": "x", "≤": "<=", "≥": ">=", "≈": "~", "…": "...", "’": "'", "→": "->"}
_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
HUNG_UP = 141  # exit code of a program that SIGPIPE ends, as a shell reports it


def readable(error: UnicodeError) -> tuple[str, int]:
    """An error handler for encoding: "gamma" for γ, plain signs for typographic ones, escapes for the rest."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(_spelt, error.object[error.start : error.end])), error.end


def _spelt(character: str) -> str:
    name = unicodedata.name(character, "")
    if name.startswith("GREEK SMALL LETTER "):
        return name.split()[-1].lower()
    return _PLAIN.get(character) or character.encode("ascii", "backslashreplace").decode()


def visible(text: str) -> str:
    """Lines without what moves a terminal's cursor, changes its colours or the direction of writing: as escapes."""
    return "".join(letter if letter == "\n" or not _moves(letter) else ascii(letter)[1:-1] for letter in text)


def _moves(letter: str) -> bool:
    return unicodedata.category(letter) == "Cc" or unicodedata.bidirectional(letter) in _DIRECTIONS


def say_every_letter() -> None:
    """Let both streams say everything, whatever their encoding."""
    codecs.register_error(_ERRORS, readable)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # None, where a shell has closed it
            stream.reconfigure(errors=_ERRORS)


def flush() -> None:
    """Send out what was written, while it can still be said that this failed. Raises OSError."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()


def give_up() -> None:
    """Send what is still unsaid to nowhere, so that the interpreter does not complain at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(nowhere, stream.fileno())
        except (AttributeError, ValueError):  # there is none, or it is closed
            pass
    os.close(nowhere)
