"""The Gaussian mixture over features: the one place where a density is written."""

import math

import torch
from torch import Tensor, nn

_MIN_LOG_VARIANCE = -4.0  # a learnt variance that runs to 0 makes the log-determinant diverge


# Longer than other classes, half of it docstrings: the density has one home.
class GaussianMixture(nn.Module):
    """A mixture of K Gaussians with diagonal covariance over D features (paper, eq. 2-4).

    Everything is in log space: ``exp`` of a log-density is exactly 0 in float32 beyond 14.4 sigma, which would
    tie all far poisons. Letters: N points, D features, K classes.
    """

    def __init__(
        self,
        means: Tensor,
        *,
        learn_variance: bool = False,
        learn_priors: bool = False,
    ) -> None:
        """``means`` is (K, D). Variances start at 1 and priors uniform; each stays so unless it is learnt."""
        super().__init__()
        if means.ndim != 2:
            raise ValueError(f"means: expected shape (K, D), got {tuple(means.shape)}")
        self.means = nn.Parameter(means.clone())
        self.log_variance = nn.Parameter(torch.zeros_like(means), requires_grad=learn_variance)
        self.prior_logits = nn.Parameter(torch.zeros(len(means)).to(means), requires_grad=learn_priors)

    @staticmethod
    def on_circle(
        n_classes: int, n_dim: int, radius: float, order: tuple[int, ...] = (), **options: bool
    ) -> "GaussianMixture":
        """Means evenly on a circle in the first two dimensions (on a line if there is only one).

        ``order`` lists the classes as they follow each other round the circle; empty means by number.
        """
        place = torch.tensor(order or range(n_classes)).argsort()
        angle = place * (2 * math.pi / n_classes)
        means = torch.zeros(n_classes, n_dim)
        means[:, 0] = radius * angle.cos()
        if n_dim > 1:
            means[:, 1] = radius * angle.sin()
        else:
            means[:, 0] = torch.linspace(-radius, radius, n_classes)[place]
        return GaussianMixture(means, **options)

    @staticmethod
    def on_simplex(n_classes: int, n_dim: int, radius: float, **options: bool) -> "GaussianMixture":
        """Means at the corners of a regular simplex round the origin, in the first K - 1 dimensions.

        All are equally far from each other, so there is no order of the classes to choose.
        """
        corner = torch.arange(n_classes, dtype=torch.float64)[:, None]
        axis = torch.arange(1, n_classes, dtype=torch.float64)  # j: corner j lies opposite to those before
        means = torch.zeros(n_classes, n_dim)
        means[:, : n_classes - 1] = ((corner < axis).double() - axis * (corner == axis)) / (axis * (axis + 1)).sqrt()
        return GaussianMixture(radius * means / means.norm(dim=1, keepdim=True), **options)

    @property
    def _safe_log_variance(self) -> Tensor:
        return self.log_variance.clamp(min=_MIN_LOG_VARIANCE)

    @property
    def precision(self) -> Tensor:
        """Inverse variances, (K, D)."""
        return (-self._safe_log_variance).exp()

    def log_prior(self) -> Tensor:
        """Log p(k), shape (K,)."""
        return self.prior_logits.log_softmax(0)

    def squared_distance(self, z: Tensor) -> Tensor:
        """Squared Mahalanobis distance (in sigmas squared) of each point to each class, (N, D) -> (N, K)."""
        difference = z[:, None, :] - self.means
        return (difference.square() * self.precision).sum(-1)

    def peak(self) -> Tensor:
        """Log N(mean_k; mean_k, Sigma_k): the highest log-density each class can reach, (K,) nats."""
        return -0.5 * (self._safe_log_variance + math.log(2 * math.pi)).sum(-1)

    def component_log_prob(self, z: Tensor) -> Tensor:
        """Log p(z | k) for every class, (N, D) -> (N, K) nats. Source: eq. (3)."""
        return self.peak() - 0.5 * self.squared_distance(z)

    def joint_log_prob(self, z: Tensor) -> Tensor:
        """Log p(z, k) = log p(z | k) + log p(k), (N, D) -> (N, K) nats."""
        return self.component_log_prob(z) + self.log_prior()

    def log_prob(self, z: Tensor) -> Tensor:
        """Log p(z) under the whole mixture, (N, D) -> (N,) nats. Source: eq. (2)."""
        return self.joint_log_prob(z).logsumexp(-1)

    def log_posterior(self, z: Tensor) -> Tensor:
        """Log p(k | z), (N, D) -> (N, K) nats. Source: eq. (4)."""
        return self.joint_log_prob(z).log_softmax(-1)

    def log_likelihood(self, z: Tensor, y: Tensor) -> Tensor:
        """Log p(z | y): log-density of each feature under its claimed label's Gaussian.

        Higher is cleaner: a poison sits far from the class it claims.

        Args:
            z: Features (N, D).
            y: Claimed labels (N,) in ``0..K-1``.

        Returns:
            (N,) nats; a density, so it may be above 0 when variances are small.

        Raises:
            ValueError: a label is outside ``0..K-1``, or the lengths differ.

        Source: eq. (3), in log space.
        """
        n_classes = len(self.means)
        if len(z) != len(y):
            raise ValueError(f"labels: expected one per feature ({len(z)}), got {len(y)}")
        if len(y) and not (int(y.min()) >= 0 and int(y.max()) < n_classes):
            raise ValueError(f"labels: expected 0..{n_classes - 1}, got {int(y.min())}..{int(y.max())}")
        return self.component_log_prob(z).gather(1, y[:, None].long())[:, 0]  # poisons keep bytes

    def closest_centers(self) -> float:
        """Smallest distance between two class means, in sigmas; near 0 means a collapsed feature space.

        Mahalanobis distance by the mean of the two covariances, so Euclidean where all variances are 1.
        """
        means, variance = self.means.detach().float(), self._safe_log_variance.detach().float().exp()
        i, j = torch.triu_indices(len(means), len(means), offset=1)
        squared = (means[i] - means[j]).square() / ((variance[i] + variance[j]) / 2)
        return float(squared.sum(-1).min().sqrt())
