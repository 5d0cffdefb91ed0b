"""Losses behind one interface, `Head`: a third one is one class here and its name in `HEADS`."""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from lgm.config import ModelConfig
from lgm.models.mixture import GaussianMixture


class Head(nn.Module, ABC):
    """What is trained on features, and predicts from them.

    Attributes:
        n_classes: K.
        mixture: The class densities of the features; None for a loss that has none, and so no likelihood to filter by.
    """

    mixture: GaussianMixture | None

    def __init__(self, n_classes: int, mixture: GaussianMixture | None = None) -> None:
        super().__init__()
        self.n_classes = n_classes
        self.mixture = mixture

    @classmethod
    @abstractmethod
    def from_config(cls, config: ModelConfig) -> "Head":
        """Freshly initialised."""

    @abstractmethod
    def logits(self, z: Tensor) -> Tensor:
        """Unnormalised log-probabilities of the classes, (N, D) -> (N, K)."""

    @abstractmethod
    def loss(self, z: Tensor, y: Tensor, ramp: float = 1.0) -> Tensor:
        """Scalar, mean over the batch, in nats; ``ramp``: share of a margin in force, 0 to 1."""

    @abstractmethod
    def start_at(self, means: Tensor) -> None:
        """Set the parameters so that the head decides as a mixture with these means (K, D) and unit variances."""

    def log_likelihood(self, z: Tensor, y: Tensor) -> Tensor:
        """Log p(z | y) in nats, (N,), higher is cleaner; NaN for a head without densities."""
        if self.mixture is None:
            return torch.full((len(z),), float("nan"), device=z.device)
        return self.mixture.log_likelihood(z, y)

    def center_parameters(self) -> list[nn.Parameter]:
        """Those with a learning rate of their own and no weight decay, which would pull means to the origin."""
        return [] if self.mixture is None else list(self.mixture.parameters())


class LGMHead(Head):
    """Large-margin Gaussian mixture loss. Source: Wan et al. 2018; paper, eq. (5)."""

    mixture: GaussianMixture  # type: ignore[bad-override-mutable-attribute] this loss always has one

    def __init__(self, mixture: GaussianMixture, *, margin: float = 1.0, likelihood_weight: float = 0.1) -> None:
        super().__init__(len(mixture.means), mixture)
        self.margin = margin
        self.likelihood_weight = likelihood_weight

    @classmethod
    def from_config(cls, config: ModelConfig) -> "LGMHead":  # noqa: D102
        return cls(build_mixture(config), margin=config.margin, likelihood_weight=config.likelihood_weight)

    def start_at(self, means: Tensor) -> None:
        """Nothing to do: the projection is fitted to the means that this head begins with."""

    def logits(self, z: Tensor) -> Tensor:
        """Log p(z, k), (N, D) -> (N, K); its softmax is the posterior of eq. (4). No margin at test time."""
        return self.mixture.joint_log_prob(z)

    def margin_logits(self, z: Tensor, y: Tensor, ramp: float = 1.0) -> Tensor:
        """The logits with the true class's distance term d = D^2/2 grown to (1 + ramp * margin) d, (N, K)."""
        true_class = functional.one_hot(y, len(self.mixture.means)).to(z)  # an integer would round to float32
        distance = 0.5 * self.mixture.squared_distance(z)
        return self.logits(z) - ramp * self.margin * true_class * distance

    def loss(self, z: Tensor, y: Tensor, ramp: float = 1.0) -> Tensor:
        """Scalar L_cls + lambda * L_lkd, mean over the batch, in nats.

        Args:
            z: Features (N, D).
            y: Labels (N,).
            ramp: Share of the margin in force, 0 to 1; starting at 1 collapses the features.

        Source: eq. (5). L_lkd is the exact negative log-likelihood, so it keeps the constant
        D/2 log(2 pi) that other implementations drop; gradients are the same.
        """
        classification = functional.cross_entropy(self.margin_logits(z, y, ramp), y)
        likelihood = -self.mixture.log_likelihood(z, y).mean()
        return classification + self.likelihood_weight * likelihood


class SoftmaxHead(Head):
    """A linear layer and cross-entropy: what the paper compares with ("Linear-19", appendix C.1)."""

    def __init__(self, n_dim: int, n_classes: int, *, label_smoothing: float = 0.0) -> None:
        super().__init__(n_classes)
        self.classifier = nn.Linear(n_dim, n_classes)
        self.label_smoothing = label_smoothing

    @classmethod
    def from_config(cls, config: ModelConfig) -> "SoftmaxHead":  # noqa: D102
        return cls(config.n_dim, config.n_classes, label_smoothing=config.label_smoothing)

    def start_at(self, means: Tensor) -> None:  # noqa: D102
        half = means.square().sum(1) / 2
        self.classifier.weight.copy_(means)
        self.classifier.bias.copy_(half.mean() - half)  # 0 on a circle, where all means are equally long

    def logits(self, z: Tensor) -> Tensor:
        """Unnormalised class scores, (N, D) -> (N, K)."""
        return self.classifier(z)

    def loss(self, z: Tensor, y: Tensor, ramp: float = 1.0) -> Tensor:
        """Scalar cross-entropy in nats, mean over the batch; ``ramp`` is for the shared interface only."""
        del ramp
        return functional.cross_entropy(self.logits(z), y, label_smoothing=self.label_smoothing)


HEADS: dict[str, type[Head]] = {"lgm": LGMHead, "softmax": SoftmaxHead}  # by `ModelConfig.loss`


def build_head(config: ModelConfig) -> Head:
    """The head a config asks for, freshly initialised."""
    return HEADS[config.loss].from_config(config)


def build_mixture(config: ModelConfig) -> GaussianMixture:
    """The Gaussians as they are before training: equally far apart where there is room, else on a circle."""
    learnt = {"learn_variance": config.covariance == "diagonal", "learn_priors": config.learn_priors}
    if config.n_dim > 2 and config.n_dim >= config.n_classes - 1:
        return GaussianMixture.on_simplex(config.n_classes, config.n_dim, config.center_radius, **learnt)
    return GaussianMixture.on_circle(
        config.n_classes, config.n_dim, config.center_radius, config.center_order, **learnt
    )


def posterior(head: Head, z: Tensor) -> Tensor:
    """p(k | z) for either head, (N, D) -> (N, K)."""
    return torch.softmax(head.logits(z), dim=-1)
