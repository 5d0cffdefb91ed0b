"""The two losses behind one interface: ``loss(z, y)`` to train, ``logits(z)`` to predict."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from lgm.config import ModelConfig
from lgm.models.mixture import GaussianMixture


class LGMHead(nn.Module):
    """Large-margin Gaussian mixture loss. Source: Wan et al. 2018; paper, eq. (5)."""

    def __init__(self, mixture: GaussianMixture, *, margin: float = 1.0, likelihood_weight: float = 0.1) -> None:
        super().__init__()
        self.mixture = mixture
        self.n_classes = len(mixture.means)
        self.margin = margin
        self.likelihood_weight = likelihood_weight

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


class SoftmaxHead(nn.Module):
    """A linear layer and cross-entropy: what the paper compares with ("Linear-19", appendix C.1)."""

    def __init__(self, n_dim: int, n_classes: int, *, label_smoothing: float = 0.0) -> None:
        super().__init__()
        self.classifier = nn.Linear(n_dim, n_classes)
        self.n_classes = n_classes
        self.label_smoothing = label_smoothing

    def logits(self, z: Tensor) -> Tensor:
        """Unnormalised class scores, (N, D) -> (N, K)."""
        return self.classifier(z)

    def loss(self, z: Tensor, y: Tensor, ramp: float = 1.0) -> Tensor:
        """Scalar cross-entropy in nats, mean over the batch; ``ramp`` is for the shared interface only."""
        del ramp
        return functional.cross_entropy(self.logits(z), y, label_smoothing=self.label_smoothing)


Head = LGMHead | SoftmaxHead


def build_head(config: ModelConfig) -> Head:
    """The head a config asks for, freshly initialised."""
    if config.loss == "softmax":
        return SoftmaxHead(config.n_dim, config.n_classes, label_smoothing=config.label_smoothing)
    return LGMHead(build_mixture(config), margin=config.margin, likelihood_weight=config.likelihood_weight)


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
