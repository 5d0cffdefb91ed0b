"""The words of this subject, each explained once, where a page first uses it: by hover, by focus, by a tap."""

import html
import re

WORDS = {
    "poison": "An image that somebody adds to the data others train on, so that the trained network errs as he wishes. "
    "Here its label looks right: it is of the class that people see in it.",
    "LGM": "Large-margin Gaussian mixture: a loss that makes the features of each class follow a Gaussian of its own.",
    "features": "The numbers f(x) that the network's last layer but one makes of an image x; the head decides by them.",
    "collides": "A poison collides if the network takes it for the target's class, and not for the one that it claims.",
    "nats": "The unit of a natural logarithm: one nat less is 2.7 times less likely.",
    "T": "The threshold of the filter, in nats: an image whose log-likelihood under its own label is at most T is "
    "removed.",
    "β": "The weight of looking like the base in what the poison minimises. Where it is small, the poison has the "
    "target's features; where it is large, it stays like the base.",
    "γ": "The weight of passing the filter, for an attacker who knows its T; 0: one who does not.",
    "D_f": "The clean images that a network is fine-tuned on, which it was not trained on before.",
    "log p(f(x)|y)": "The log-likelihood, in nats: how likely the features f(x) are under the Gaussian of the label y "
    "that the image claims. The lower, the more suspect.",
    "α": "The margin: while the network is trained, the squared distance to an image's own class mean counts 1 + α "
    "times, so that classes keep apart.",
    "λ": "The weight of the likelihood in the LGM loss: the larger, the closer features keep to their class mean.",
    "base": "The image that a poison starts from, looks like, and has the label of.",
    "target": "The image that the attacker wants misread. It is not changed, and is not in the training data.",
    "FPR": "False-positive rate: the share of the clean images that the filter removes.",
    "TPR": "True-positive rate: the share of the poisons that the filter removes.",
    "AUC": "The chance that a random poison scores lower than a random clean image: 1 is perfect, 0.5 is guessing.",
}
# How a word is written where it stands for the one above.
_FORMS = {
    "poison": r"[Pp]oisons?",
    "collides": r"collides?",
    "features": r"[Ff]eatures",
    "base": r"base",
    "target": r"target",
    "log p(f(x)|y)": r"log p\(f\(x\) ?\| ?\w+\)|log-likelihood|[Ll]ikelihood|likely",
}

STYLE = """
.lgm-term {position: relative; cursor: help; text-decoration: underline dotted; text-underline-offset: .2em;
  text-decoration-thickness: 1px;}
.lgm-term:focus-visible {outline: 2px solid var(--st-primary-color, #0B6BB8); outline-offset: 2px; border-radius: 2px;}
.lgm-tip {display: none; position: absolute; z-index: 1000; left: 0; top: 1.7em; width: max-content; max-width: 21rem;
  padding: .5rem .7rem; border-radius: 8px; background: #1B2430; color: #FFFFFF; font-size: .85rem; font-weight: 400;
  line-height: 1.4; text-align: left; white-space: normal; box-shadow: 0 2px 10px rgba(0, 0, 0, .35);}
.lgm-tip.left {left: auto; right: 0;}
.lgm-term:hover > .lgm-tip, .lgm-term:focus > .lgm-tip {display: block;}
@media (max-width: 1000px) {
  .lgm-tip, .lgm-tip.left {position: fixed; inset: auto 1rem 1rem 1rem; max-width: none; width: auto;}
}
"""


def term(word: str, shown: str | None = None, *, left: bool = False) -> str:
    """HTML of a word with its explanation; ``left``: which opens to the left, for the right edge of a page."""
    tip = f'<span role="tooltip" class="lgm-tip{" left" if left else ""}">{html.escape(WORDS[word])}</span>'
    return f'<span class="lgm-term" tabindex="0">{html.escape(shown or word)}{tip}</span>'


def explain(text: str, *words: str) -> str:
    """HTML text in which the first use of each of these words explains it; all of them if none is named.

    Plain text and Markdown stay as they are; what is already explained is left alone.
    """
    places: list[tuple[int, int, str]] = []
    for word in words or WORDS:
        form = _FORMS.get(word, re.escape(word))
        for found in re.finditer(rf"(?<![\w\\-])(?:{form})(?![\w-])", text):
            if not any(start < found.end() and found.start() < end for start, end, _ in places):
                places.append((*found.span(), word))
                break
    for start, end, word in sorted(places, reverse=True):
        text = text[:start] + term(word, html.unescape(text[start:end])) + text[end:]
    return text
