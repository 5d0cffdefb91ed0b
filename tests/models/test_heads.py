import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lgm.config import DefenseConfig, ModelConfig, Phase, TrainConfig
from lgm.data.base import Split
from lgm.defense.experiment import Experiment
from lgm.models.card import Card
from lgm.models.checkpoint import embed_split
from lgm.models.classifier import build_model
from lgm.models.heads import HEADS, Head, LGMHead, SoftmaxHead, build_head, build_mixture, posterior
from lgm.models.mixture import GaussianMixture
from lgm.models.scoring import log_likelihood, require_mixture
from lgm.training.loop import fit
from lgm.training.run import build_optimizer

N, D, K = 6, 3, 4
Y = torch.tensor([0, 3, 1, 1, 2, 0])


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def make(*, margin: float, weight: float) -> LGMHead:
    mixture = GaussianMixture(3 * randn(K, D, seed=0), learn_variance=True, learn_priors=True)
    mixture.log_variance.data = randn(K, D, seed=1)
    mixture.prior_logits.data = randn(K, seed=2)
    return LGMHead(mixture, margin=margin, likelihood_weight=weight)


@torch.no_grad()
def slow_margin_logits(head: LGMHead, z: Tensor, ramp: float) -> Tensor:
    """log p(k) - log|Sigma|/2 - D/2 log 2 pi - (1 + [k = y] ramp alpha) d_k, one entry at a time."""
    mixture = head.mixture
    out = torch.empty(N, K, dtype=torch.float64)
    for n in range(N):
        for k in range(K):
            distance, log_determinant = 0.0, 0.0
            for d in range(D):
                log_variance = float(mixture.log_variance[k, d])
                distance += 0.5 * float(z[n, d] - mixture.means[k, d]) ** 2 * 2.718281828459045**-log_variance
                log_determinant += log_variance
            grown = 1 + ramp * head.margin if k == int(Y[n]) else 1.0
            constant = 0.5 * D * 1.8378770664093453  # log 2 pi
            out[n, k] = float(mixture.log_prior()[k]) - 0.5 * log_determinant - constant - grown * distance
    return out


@pytest.mark.parametrize("ramp", [0.0, 0.3, 1.0])
def test_margin_logits_against_a_slow_loop(ramp: float):
    head, z = make(margin=1.5, weight=0.1), 3 * randn(N, D, seed=3)
    torch.testing.assert_close(head.margin_logits(z, Y, ramp), slow_margin_logits(head, z, ramp))


@torch.no_grad()
@pytest.mark.parametrize("ramp", [0.3, 1.0])
def test_loss_against_a_slow_loop(ramp: float):
    head, z = make(margin=1.5, weight=0.7), 3 * randn(N, D, seed=3)
    logits = slow_margin_logits(head, z, ramp)
    expected = 0.0
    for n in range(N):
        k = int(Y[n])
        classification = -(logits[n, k] - logits[n].exp().sum().log())
        expected += float(classification - 0.7 * head.mixture.component_log_prob(z)[n, k]) / N
    assert float(head.loss(z, Y, ramp)) == pytest.approx(expected, rel=1e-9)


def test_without_margin_and_likelihood_it_is_cross_entropy():
    head, z = make(margin=0.0, weight=0.0), 3 * randn(N, D, seed=3)
    torch.testing.assert_close(head.loss(z, Y), functional.cross_entropy(head.mixture.joint_log_prob(z), Y))
    assert torch.equal(head.margin_logits(z, Y), head.logits(z))


def test_no_margin_at_test_time():
    head, z = make(margin=5.0, weight=0.1), 3 * randn(N, D, seed=3)
    torch.testing.assert_close(posterior(head, z), head.mixture.log_posterior(z).exp())


@pytest.mark.parametrize("kind", ["lgm", "softmax"])
def test_gradients_of_the_loss(kind: str):
    head = make(margin=1.0, weight=0.1) if kind == "lgm" else SoftmaxHead(D, K).double()
    names = [name for name, _ in head.named_parameters()]

    def call(z: Tensor, *parameters: Tensor) -> Tensor:
        return torch.func.functional_call(
            _Loss(head), dict(zip([f"head.{name}" for name in names], parameters, strict=True)), (z,)
        )

    values = [value.detach().clone().requires_grad_() for value in head.parameters()]
    assert torch.autograd.gradcheck(call, (randn(N, D, seed=3).requires_grad_(), *values))


class _Loss(nn.Module):
    def __init__(self, head: LGMHead | SoftmaxHead):
        super().__init__()
        self.head = head

    def forward(self, z: Tensor) -> Tensor:
        return self.head.loss(z, Y, 0.5)


def test_softmax_head_is_a_linear_layer_with_cross_entropy():
    head, z = SoftmaxHead(D, K).double(), randn(N, D, seed=3)
    linear = nn.Linear(D, K, dtype=torch.float64)
    linear.load_state_dict(head.classifier.state_dict())
    assert torch.equal(head.logits(z), linear(z))
    torch.testing.assert_close(head.loss(z, Y), nn.CrossEntropyLoss()(linear(z), Y))
    assert torch.equal(head.loss(z, Y, 0.0), head.loss(z, Y, 1.0))
    torch.testing.assert_close(posterior(head, z), nn.Softmax(dim=1)(linear(z)))


def test_config_builds_the_head_it_asks_for():
    softmax = build_head(ModelConfig(loss="softmax", n_dim=5, n_classes=3))
    assert isinstance(softmax, SoftmaxHead)
    assert tuple(softmax.classifier.weight.shape) == (3, 5)
    config = ModelConfig(
        margin=0.5, likelihood_weight=0.2, covariance="diagonal", learn_priors=True, center_radius=2.0, n_classes=7
    )
    head = build_head(config)
    assert isinstance(head, LGMHead)
    assert (head.margin, head.likelihood_weight) == (0.5, 0.2)
    assert head.mixture.log_variance.requires_grad
    assert head.mixture.prior_logits.requires_grad
    torch.testing.assert_close(head.mixture.means.norm(dim=1), torch.full((7,), 2.0))
    for n_dim in (3, 8, 9, 10):  # nine dimensions have room for ten means that are equally far from each other
        distances = torch.pdist(build_mixture(ModelConfig(n_dim=n_dim)).means.detach())
        assert torch.allclose(distances, distances[0]) == (n_dim >= 9)
    assert not build_mixture(ModelConfig(n_dim=8)).means[:, 2:].any()
    papers = build_head(ModelConfig())
    assert isinstance(papers, LGMHead)
    assert [name for name, p in papers.named_parameters() if p.requires_grad] == ["mixture.means"]


class CenterHead(Head):
    """A third loss: nearest class centre, with densities of its own. All that adding one takes, but for its name."""

    @classmethod
    def from_config(cls, config: ModelConfig) -> "CenterHead":
        return cls(config.n_classes, build_mixture(config))

    def logits(self, z: Tensor) -> Tensor:
        assert self.mixture is not None
        return -torch.cdist(z, self.mixture.means).square()

    def loss(self, z: Tensor, y: Tensor, ramp: float = 1.0) -> Tensor:
        return functional.cross_entropy(self.logits(z), y) + ramp * 0.1 * -self.log_likelihood(z, y).mean()

    def start_at(self, means: Tensor) -> None:
        pass


def test_a_third_loss_is_one_class(few: Split, bundled: Split, monkeypatch: pytest.MonkeyPatch):
    """It trains, with the centres' own learning rate, and everything that asks for densities finds them."""
    monkeypatch.setitem(HEADS, "lgm", CenterHead)
    phase = Phase(model=ModelConfig(network="tiny-cnn"), epochs=12, batch_size=25, lr=5e-3)
    config = TrainConfig(phases=(phase,))
    model = build_model(config.model, seed=1)
    before = require_mixture(model).means.clone()
    assert [group["lr"] for group in build_optimizer(model, phase).param_groups] == [phase.lr, phase.center_lr]
    history = fit(model, few, config).history
    assert history[-1]["loss"] < history[0]["loss"]
    assert not torch.equal(before, require_mixture(model).means)
    features = embed_split(model.eval(), few)
    expected = log_likelihood(model, few.pixels(), few.targets()).numpy()
    np.testing.assert_allclose(features.score, expected, rtol=1e-5)
    experiment = Experiment(
        model,
        Card(name="third", config=config, weights_sha256=""),
        bundled[::10],
        DefenseConfig(poisons=1, clean=2, trials=2),
    )
    assert experiment.density == "own"
