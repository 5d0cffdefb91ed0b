"""Scores that a filter can go by, by name: what a network's own head says, and what is fitted to other images."""

from typing import TYPE_CHECKING

from lgm.detection.neighbours import NeighbourScore
from lgm.detection.score import HeadScore, Score

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier


def own_likelihood(model: "Classifier") -> HeadScore:
    """Log p(z | y) of the Gaussians that the network was trained with, nats.

    Raises:
        ValueError: a softmax network, which has none.

    Source: the paper, section 4.4.
    """
    from lgm.models.scoring import require_mixture, score_claims

    require_mixture(model)
    return HeadScore(lambda z, labels: score_claims(model, z, labels)[1])


def own_log_odds(model: "Classifier") -> HeadScore:
    """Log-odds of the claimed label against all others, nats.

    Source: Northcutt, Jiang, Chuang 2021, *Confident Learning* (self-confidence, whose order it has).
    """
    from lgm.models.scoring import score_claims

    return HeadScore(lambda z, labels: score_claims(model, z, labels)[0])


def own_confidence(model: "Classifier") -> HeadScore:
    """p(y | z), the claimed label's probability by the network's own head, in [0, 1].

    In the order of `own_log_odds`, but rounded to 1 where the network is sure, where images then tie.

    Source: Northcutt, Jiang, Chuang 2021, *Confident Learning* (self-confidence).
    """
    from scipy.special import expit

    from lgm.models.scoring import score_claims

    return HeadScore(lambda z, labels: expit(score_claims(model, z, labels)[0]))


# By name, in words.
SCORES = {
    "likelihood": "log-likelihood under the Gaussians that the network was trained with (LGM only), nats",
    "gaussian": "log-likelihood under Gaussians fitted to the features of trusted images, nats",
    "log-odds": "log-odds of the claimed label by the network's own head, nats",
    "confidence": "probability of the claimed label by the network's own head",
    "knn": "minus the distance to the tenth nearest trusted image of the claimed class",
}
_OF_ITSELF = {
    "gaussian": "log-likelihood under Gaussians fitted to the inner part of each class of these very images, nats",
    "knn": "minus the distance to the tenth nearest other image of the claimed class",
}
BY_HEAD = ("likelihood", "log-odds", "confidence")  # of the network itself, so of classes that it knows


def score_words(name: str, *, of_itself: bool = False) -> str:
    """What one of `SCORES` is, in words; ``of_itself`` as in `make_score`."""
    return _OF_ITSELF.get(name, SCORES[name]) if of_itself else SCORES[name]


def make_score(name: str, model: "Classifier | None", seed: int = 0, *, of_itself: bool = False) -> Score:
    """One of `SCORES`, not fitted.

    Args:
        name: Its key.
        model: The network that the features are of; None: it is not known.
        seed: Which of the trusted examples calibrate.
        of_itself: Whether it is going to be fitted to the very data that it judges; see `OfItself`.

    Raises:
        ValueError: another name, a likelihood of a softmax network, or what a network's head says without a network.
    """
    if of_itself:
        from lgm.detection.self_fitted import OfItself

        return OfItself(_of_itself(name, model))
    match name:
        case "gaussian":
            from lgm.detection.likelihood_filter import LikelihoodFilter  # scikit-learn takes a second

            return LikelihoodFilter(random_state=seed)
        case "knn":
            return NeighbourScore(random_state=seed)
    return _by_head(name, model)


def _of_itself(name: str, model: "Classifier | None") -> Score:
    match name:
        case "gaussian":
            from lgm.detection.self_fitted import RobustGaussians

            return RobustGaussians()
        case "knn":
            return NeighbourScore(of_itself=True)
    return _by_head(name, model)


def _by_head(name: str, model: "Classifier | None") -> HeadScore:
    if model is None and name in BY_HEAD:
        raise ValueError(f"score: {name} is what a network says: name one (--model), or go by gaussian or knn")
    if model is not None:
        match name:
            case "likelihood":
                return own_likelihood(model)
            case "log-odds":
                return own_log_odds(model)
            case "confidence":
                return own_confidence(model)
    raise ValueError(f"score: expected one of {', '.join(SCORES)}, got {name!r}")
