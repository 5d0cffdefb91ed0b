import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from torch import Tensor
from torch.distributions import Categorical, Independent, MixtureSameFamily, MultivariateNormal, Normal

from lgm.models.mixture import GaussianMixture

N, D, K = 7, 3, 4


def make(kind: str, seed: int = 0) -> GaussianMixture:
    """Random means; variances and priors far from 1 and uniform where they are learnt."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    diagonal = kind == "diagonal"
    mixture = GaussianMixture(3 * randn(K, D), learn_variance=diagonal, learn_priors=diagonal)
    if diagonal:
        mixture.log_variance.data = randn(K, D)
        mixture.prior_logits.data = randn(K)
    return mixture


def points(seed: int = 1) -> Tensor:
    return 4 * torch.randn(N, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def oracle(mixture: GaussianMixture) -> MixtureSameFamily:
    deviation = (0.5 * mixture.log_variance.detach()).exp()
    components = Independent(Normal(mixture.means.detach(), deviation), 1)
    return MixtureSameFamily(Categorical(logits=mixture.prior_logits.detach()), components)


@pytest.mark.parametrize("kind", ["identity", "diagonal"])
def test_densities_agree_with_torch_distributions(kind: str):
    mixture, z = make(kind), points()
    component = mixture.component_log_prob(z)
    for k in range(K):
        gaussian = MultivariateNormal(mixture.means[k], torch.diag(mixture.log_variance[k].exp()))
        torch.testing.assert_close(component[:, k], gaussian.log_prob(z))
        torch.testing.assert_close(mixture.peak()[k], gaussian.log_prob(mixture.means[k]))
    torch.testing.assert_close(mixture.log_prob(z), oracle(mixture).log_prob(z))


@pytest.mark.parametrize("kind", ["identity", "diagonal"])
def test_posterior_is_bayes_rule(kind: str):
    mixture, z = make(kind), points()
    prior = mixture.prior_logits.detach().softmax(0).numpy()
    means, variance = mixture.means.detach().numpy(), mixture.log_variance.detach().exp().numpy()
    expected = np.empty((N, K))
    for n in range(N):
        for k in range(K):
            density = prior[k]
            for d in range(D):
                exponent = -((float(z[n, d]) - means[k, d]) ** 2) / (2 * variance[k, d])
                density *= math.exp(exponent) / math.sqrt(2 * math.pi * variance[k, d])
            expected[n, k] = density
    expected /= expected.sum(1, keepdims=True)
    np.testing.assert_allclose(mixture.log_posterior(z).exp().detach().numpy(), expected, rtol=1e-9)


@pytest.mark.parametrize("kind", ["identity", "diagonal"])
def test_likelihood_is_the_claimed_component(kind: str):
    mixture, z = make(kind), points()
    y = torch.tensor([0, 3, 1, 1, 2, 0, 3])
    expected = torch.stack([mixture.component_log_prob(z)[n, int(y[n])] for n in range(N)])
    torch.testing.assert_close(mixture.log_likelihood(z, y), expected)
    torch.testing.assert_close(mixture.log_likelihood(z, y.to(torch.uint8)), expected)  # as poisons keep them
    assert mixture.log_likelihood(z[:0], y[:0]).shape == (0,)


def test_far_points_are_told_apart():
    # exp() of both is exactly 0 in float32; in log space the farther one is still the less likely.
    mixture = GaussianMixture(torch.zeros(2, 2))
    z = torch.tensor([[100.0, 0.0], [101.0, 0.0]])
    score = mixture.log_likelihood(z, torch.tensor([0, 1]))
    constant = -math.log(2 * math.pi)
    torch.testing.assert_close(score, torch.tensor([constant - 100**2 / 2, constant - 101**2 / 2]))
    assert (score.exp() == 0).all()
    assert mixture.log_prob(z).isfinite().all()
    assert mixture.log_posterior(z).isfinite().all()


@pytest.mark.parametrize("bad", [-1, K])
def test_label_out_of_range(bad: int):
    with pytest.raises(ValueError, match=rf"labels: expected 0\.\.{K - 1}, got .*{bad}"):
        make("identity").log_likelihood(points(), torch.tensor([0, 1, 2, 3, 0, 1, bad]))


def test_one_label_a_point():
    with pytest.raises(ValueError, match=r"labels: expected one per feature \(7\), got 6"):
        make("identity").log_likelihood(points(), torch.zeros(6, dtype=torch.int64))


@pytest.mark.parametrize("method", ["log_prob", "log_posterior", "log_likelihood"])
def test_gradients(method: str):
    template = make("diagonal")
    names = [name for name, _ in template.named_parameters()]
    y = torch.tensor([0, 3, 1, 1, 2, 0, 3])

    def call(z: Tensor, *parameters: Tensor) -> Tensor:
        def run(mixture: GaussianMixture) -> Tensor:
            return mixture.log_likelihood(z, y) if method == "log_likelihood" else getattr(mixture, method)(z)

        return torch.func.functional_call(_Calling(template, run), dict(zip(prefixed, parameters, strict=True)), ())

    prefixed = [f"mixture.{name}" for name in names]
    values = [value.detach().clone().requires_grad_() for value in template.parameters()]
    assert torch.autograd.gradcheck(call, (points().requires_grad_(), *values))


class _Calling(torch.nn.Module):
    """Any method of a mixture as `forward`, which is what `functional_call` calls."""

    def __init__(self, mixture: GaussianMixture, run):
        super().__init__()
        self.mixture = mixture
        self.run = run

    def forward(self) -> Tensor:
        return self.run(self.mixture)


def test_what_is_not_learnt_stays():
    fixed, learnt = GaussianMixture(torch.zeros(2, 2)), GaussianMixture(torch.zeros(2, 2), learn_variance=True)
    assert {n for n, p in fixed.named_parameters() if p.requires_grad} == {"means"}
    assert {n for n, p in learnt.named_parameters() if p.requires_grad} == {"means", "log_variance"}
    both = GaussianMixture(torch.zeros(2, 2), learn_priors=True)
    assert {n for n, p in both.named_parameters() if p.requires_grad} == {"means", "prior_logits"}
    assert torch.equal(fixed.log_prior(), torch.tensor([0.5, 0.5]).log())


def test_variance_cannot_run_to_zero():
    mixture = GaussianMixture(torch.zeros(2, 1, dtype=torch.float64), learn_variance=True)
    mixture.log_variance.data.fill_(-100)
    floor = Normal(0.0, torch.tensor(math.exp(-2.0), dtype=torch.float64))  # log-variance -4
    z = torch.tensor([[0.3]], dtype=torch.float64)
    torch.testing.assert_close(mixture.component_log_prob(z)[:, 0], floor.log_prob(z)[:, 0])


def test_means_start_on_a_circle():
    means = GaussianMixture.on_circle(6, 4, 2.5).means.detach()
    torch.testing.assert_close(means.norm(dim=1), torch.full((6,), 2.5))
    torch.testing.assert_close((means - means.roll(1, 0)).norm(dim=1), torch.full((6,), 2.5))  # a hexagon's side
    assert not means[:, 2:].any()
    line = GaussianMixture.on_circle(3, 1, 2.0).means.detach()
    assert line[:, 0].tolist() == [-2.0, 0.0, 2.0]


@pytest.mark.parametrize(("n_classes", "n_dim"), [(4, 3), (10, 9), (10, 12), (2, 5)])
def test_means_on_a_simplex_are_all_equally_far_apart(n_classes: int, n_dim: int):
    means = GaussianMixture.on_simplex(n_classes, n_dim, 5.0).means.detach()
    torch.testing.assert_close(means.norm(dim=1), torch.full((n_classes,), 5.0))
    torch.testing.assert_close(means.mean(0), torch.zeros(n_dim), atol=1e-6, rtol=0)
    distances = torch.pdist(means)
    torch.testing.assert_close(distances, torch.full_like(distances, 5.0 * math.sqrt(2 * n_classes / (n_classes - 1))))
    assert not means[:, n_classes - 1 :].any()


def test_means_need_two_dimensions():
    with pytest.raises(ValueError, match=r"means: expected shape \(K, D\), got \(3,\)"):
        GaussianMixture(torch.zeros(3))


@pytest.mark.parametrize("kind", ["identity", "diagonal"])
def test_closest_centers_is_the_smallest_mahalanobis_distance(kind: str):
    mixture = make(kind)
    means, variances = mixture.means.detach().numpy(), 1 / mixture.precision.detach().numpy()
    expected = min(
        mahalanobis(means[i], means[j], np.diag(2 / (variances[i] + variances[j]))) for i in range(K) for j in range(i)
    )
    assert mixture.closest_centers() == pytest.approx(expected, rel=1e-5)


def test_classes_follow_each_other_round_the_circle_in_the_order_given() -> None:
    order = (2, 0, 3, 1)
    means = GaussianMixture.on_circle(4, 2, 5.0, order).means
    by_number = GaussianMixture.on_circle(4, 2, 5.0).means
    torch.testing.assert_close(means[list(order)], by_number)
