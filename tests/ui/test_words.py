"""Words explain themselves where they are first used, once, and nothing else changes."""

import html
import re

import pytest

from ui.words import WORDS, explain, term


def shown(text: str) -> str:
    """What is read while nothing explains itself."""
    return html.unescape(re.sub(r"<[^>]*>", "", re.sub(r'<span role="tooltip".*?</span>', "", text)))


def test_the_first_use_is_explained_and_the_text_stays():
    text = "A poison collides or not; what collides has T or less, in nats."
    found = explain(text)
    assert shown(found) == text
    assert found.count(html.escape(WORDS["collides"])) == found.count(html.escape(WORDS["nats"])) == 1
    assert found.index(html.escape(WORDS["collides"])) < found.index("what collides")


def test_only_the_words_asked_for_are_explained():
    assert explain("T in nats", "nats") == f"T in {term('nats')}"
    assert explain("Trousers, T-shirts and nothing", "T") == "Trousers, T-shirts and nothing"


def test_other_forms_keep_their_spelling():
    found = explain("Poisons: log p(f(x)|cat) = **-3.10** nats")
    assert shown(found) == "Poisons: log p(f(x)|cat) = **-3.10** nats"
    assert html.escape(WORDS["log p(f(x)|y)"]) in found


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_reached_by_keyboard_and_said_in_one_place(word: str):
    markup = term(word)
    assert 'tabindex="0"' in markup
    assert 'role="tooltip"' in markup
    assert shown(markup) == word
    assert WORDS[word].endswith(".")
