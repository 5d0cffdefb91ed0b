from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn

from lgm.attacks.craft import craft_beta_path, craft_poisons, craft_random
from lgm.attacks.result import Poisons, pick_pairs, read_poisons
from lgm.config import BETA_GRID, Method, ModelConfig, PoisonConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.heads import LGMHead, SoftmaxHead
from lgm.models.mixture import GaussianMixture
from lgm.models.scoring import embed, log_likelihood

N, PIXELS = 6, 28 * 28
EXACT = PoisonConfig(method="fbs", beta=0.5, iterations=100, tolerance=0)
both_methods = pytest.mark.parametrize("method", ["lm", "fbs"])


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever this machine multiplies fastest; the tests of bfloat16 say so."""
    monkeypatch.setattr("lgm.attacks.forward_backward.fast_precision", lambda device: torch.float32)


@pytest.fixture
def bfloat16(float32: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lgm.attacks.forward_backward.fast_precision", lambda device: torch.bfloat16)


def linear_model(n_dim: int = 2) -> Classifier:
    """f(x) = W (2 x - 1) + c, so that eq. (1) has a closed form."""
    linear = nn.Linear(PIXELS, n_dim)
    generator = torch.Generator().manual_seed(0)
    linear.weight.data = 0.05 * torch.randn(n_dim, PIXELS, generator=generator)
    linear.bias.data = torch.randn(n_dim, generator=generator)
    head = LGMHead(GaussianMixture.on_circle(10, n_dim, 3.0))
    model = Classifier(nn.Sequential(nn.Flatten(), linear), head)
    model.feature_scale = torch.linspace(0.5, 2.0, n_dim)
    return model.eval().requires_grad_(False)


@pytest.fixture
def grey(rng: np.random.Generator) -> tuple[Split, Split]:
    """Bases and targets around grey, so near to each other that no pixel of a poison meets a bound."""
    images = rng.integers(108, 149, (2 * N, 1, 28, 28), dtype=np.uint8)
    labels = np.arange(2 * N) % 10
    return Split("grey", images[:N], labels[:N]), Split("grey", images[N:], labels[N:])


@pytest.fixture
def digits(few: Split) -> tuple[Split, Split]:
    bases, targets = pick_pairs(few.labels, 8, seed=1)
    return few[bases], few[targets]


def closed_form(model: Classifier, bases: Split, targets: Split, beta: np.ndarray) -> np.ndarray:
    """argmin |M (x - b) - r|^2 + beta |x - b|^2 = b + (M'M + beta I)^-1 M' r, in float64."""
    linear = model.backbone[1]  # type: ignore[index]
    m = model.feature_scale.double().numpy()[:, None] * 2 * linear.weight.double().numpy()
    b = bases.images.reshape(N, PIXELS) / 255
    r = (targets.images.reshape(N, PIXELS) / 255 - b) @ m.T
    x = [b[i] + np.linalg.solve(m.T @ m + beta[i] * np.eye(PIXELS), m.T @ r[i]) for i in range(N)]
    return np.stack(x).reshape(N, 1, 28, 28)


@both_methods
@pytest.mark.parametrize("n_dim", [2, 5])
def test_linear_network_gives_the_closed_form(method: Method, n_dim: int, grey: tuple[Split, Split]):
    model = linear_model(n_dim)
    beta = np.geomspace(0.05, 5, N)  # each poison its own
    best = closed_form(model, *grey, beta)
    assert best.min() > 0
    assert best.max() < 1  # or the box would be part of the problem
    poisons = craft_poisons(model, *grey, replace(EXACT, method=method), beta=beta)
    np.testing.assert_allclose(poisons.images, best, atol=2e-5)
    moved = np.abs(best - grey[0].images / 255).max()
    assert moved > 2e-3, "nothing to find: the bases are the minimisers"


def test_one_beta_for_all_is_the_configs(grey: tuple[Split, Split]):
    model = linear_model()
    one = craft_poisons(model, *grey, EXACT)
    each = craft_poisons(model, *grey, replace(EXACT, beta=99.0), beta=np.full(N, EXACT.beta))
    np.testing.assert_array_equal(one.images, each.images)
    np.testing.assert_array_equal(one.beta, np.full(N, EXACT.beta, np.float32))


@both_methods
def test_larger_beta_stays_closer_and_collides_less(method: Method, grey: tuple[Split, Split]):
    configs = [replace(EXACT, method=method, beta=beta) for beta in (0.01, 0.1, 1.0, 10.0)]
    crafted = [craft_poisons(linear_model(), *grey, config) for config in configs]
    for small, large in pairwise(crafted):
        assert (large.perturbation < small.perturbation).all()
        assert (large.collision > small.collision).all()


@both_methods
def test_beta_0_collides(method: Method, grey: tuple[Split, Split]):
    poisons = craft_poisons(linear_model(), *grey, replace(EXACT, method=method, beta=0.0))
    assert (poisons.collision < 1e-9).all()
    np.testing.assert_allclose(poisons.z, poisons.target_z, atol=1e-4)


@both_methods
def test_box_is_respected_and_its_minimum_found(method: Method, rng: np.random.Generator):
    # Bases near black and white: the minimiser lies on the boundary. Projected gradient in float64 is the judge.
    model = linear_model()
    images = np.r_[rng.integers(0, 4, (N, 1, 28, 28)), rng.integers(252, 256, (N, 1, 28, 28))].astype(np.uint8)
    bases, targets = (Split("edge", part, np.arange(N) % 10) for part in (images[:N], images[N:]))
    poisons = craft_poisons(model, bases, targets, replace(EXACT, method=method))
    assert poisons.images.min() >= 0
    assert poisons.images.max() <= 1
    linear = model.backbone[1]  # type: ignore[index]
    m = model.feature_scale.double().numpy()[:, None] * 2 * linear.weight.double().numpy()
    b, t = bases.images.reshape(N, PIXELS) / 255, targets.images.reshape(N, PIXELS) / 255
    x = b.copy()
    step = 0.5 / (np.linalg.norm(m, 2) ** 2 + EXACT.beta)
    for _ in range(5000):
        gradient = 2 * ((x - t) @ m.T) @ m + 2 * EXACT.beta * (x - b)
        x = (x - step * gradient).clip(0, 1)
    assert (np.abs(x - x.round()) < 1e-12).any(), "no pixel is on the boundary"
    best = (((x - t) @ m.T) ** 2).sum(1) + EXACT.beta * ((x - b) ** 2).sum(1)
    np.testing.assert_allclose(poisons.objective, best, rtol=1e-4)
    assert (poisons.objective >= best * (1 - 1e-5)).all()


@pytest.fixture(scope="module")
def tiny(tiny_lgm: Path) -> Classifier:
    return load_checkpoint(tiny_lgm)[0]


@both_methods
def test_objective_never_rises(method: Method, tiny: Classifier, digits: tuple[Split, Split]):
    poisons = craft_poisons(tiny, *digits, PoisonConfig(method=method, iterations=80))
    terms = poisons.path_objective.astype(np.float64)
    objective = terms[..., 0] + poisons.beta[:, None] * terms[..., 1]
    assert (np.diff(objective, axis=1) <= 1e-6 * objective[:, :1]).all()
    assert (objective[:, -1] < 0.7 * objective[:, 0]).all()


def test_path_leads_from_the_base_to_the_poison(tiny: Classifier, digits: tuple[Split, Split]):
    bases, _ = digits
    poisons = craft_poisons(tiny, *digits, PoisonConfig(method="fbs", iterations=80))
    assert (poisons.path_iteration[0], poisons.path_iteration[-1]) == (0, 80)
    assert (np.diff(poisons.path_iteration) > 0).all()
    assert poisons.path.shape == (8, len(poisons.path_iteration), 2)
    np.testing.assert_allclose(poisons.path[:, 0], embed(tiny, bases.pixels()), atol=1e-4)
    np.testing.assert_allclose(poisons.path[:, -1], poisons.z, atol=1e-4)
    np.testing.assert_array_equal(poisons.path_objective[:, 0, 1], np.zeros(8))
    last = np.stack([poisons.collision, poisons.perturbation], axis=1)
    np.testing.assert_allclose(poisons.path_objective[:, -1], last, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(("method", "precision"), [("lm", "float32"), ("fbs", "float32"), ("fbs", "bfloat16")])
def test_what_is_reported_is_what_the_images_give(
    method: Method, precision: str, tiny: Classifier, digits: tuple[Split, Split], request: pytest.FixtureRequest
):
    request.getfixturevalue(precision)
    bases, targets = digits
    poisons = craft_poisons(tiny, bases, targets, PoisonConfig(method=method, iterations=40))
    images = torch.from_numpy(poisons.images)
    assert 0 <= float(images.min()) <= float(images.max()) <= 1
    z, target_z = embed(tiny, images), embed(tiny, targets.pixels())
    np.testing.assert_allclose(poisons.z, z, atol=1e-5)
    np.testing.assert_allclose(poisons.target_z, target_z, atol=1e-5)
    difference = tiny.feature_scale * (z - target_z)
    np.testing.assert_allclose(poisons.collision, (difference**2).sum(1), rtol=1e-4, atol=1e-8)
    change = poisons.images - bases.images / np.float32(255)
    np.testing.assert_allclose(poisons.perturbation, (change.reshape(8, -1) ** 2).sum(1), rtol=1e-5)
    np.testing.assert_array_equal(poisons.predicted, tiny.head.logits(z).argmax(1))
    score = log_likelihood(tiny, images, torch.from_numpy(bases.labels))
    np.testing.assert_allclose(poisons.score, score, atol=1e-4)
    np.testing.assert_array_equal(poisons.labels, bases.labels)
    np.testing.assert_array_equal(poisons.target_labels, targets.labels)
    np.testing.assert_array_equal(poisons.bases, bases.images)
    np.testing.assert_array_equal(poisons.targets, targets.images)


def nearest_class(head: LGMHead, z: np.ndarray) -> np.ndarray:
    """The class that a mixture of equal round Gaussians sees in features (..., D)."""
    means = head.mixture.means.numpy()
    return np.linalg.norm(z[..., None, :] - means, axis=-1).argmin(-1)


@both_methods
def test_the_way_is_judged_like_the_poison(method: Method, tiny: Classifier, digits: tuple[Split, Split]):
    assert isinstance(tiny.head, LGMHead)
    poisons = craft_poisons(tiny, *digits, PoisonConfig(method=method, iterations=40))
    frames = (8, len(poisons.path_iteration))
    assert (poisons.path_score.dtype, poisons.path_score.shape) == (np.float32, frames)
    assert (poisons.path_predicted.dtype, poisons.path_predicted.shape) == (np.uint8, frames)
    means = tiny.head.mixture.means.numpy()
    for i, label in enumerate(poisons.labels):
        expected = multivariate_normal.logpdf(poisons.path[i], means[label])  # covariance: identity
        np.testing.assert_allclose(poisons.path_score[i], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(poisons.path_predicted, nearest_class(tiny.head, poisons.path))
    np.testing.assert_allclose(poisons.path_score[:, -1], poisons.score, atol=1e-3)
    np.testing.assert_array_equal(poisons.path_predicted[:, -1], poisons.predicted)
    assert (np.diff(poisons.path_predicted.astype(int), axis=1) != 0).any(), "no prediction changed on the way"
    assert poisons.path_images.shape == (8, 0, 1, 28, 28), "the images of many pairs are not kept"


def test_images_on_the_way_are_those_of_shorter_runs(tiny_lgm: Path, few: Split):
    model, card = load_checkpoint(tiny_lgm)
    config, betas = PoisonConfig(method="fbs", iterations=30, tolerance=0), (0.001, 0.1)
    long = craft_beta_path(model, card, few, (4, 31), config, betas=betas)
    assert (long.path_images.dtype, long.path_images.shape) == (np.uint8, (2, len(long.path_iteration), 1, 28, 28))
    np.testing.assert_array_equal(long.path_images[:, 0], long.bases)
    for iterations in (1, 5, 14):
        short = craft_beta_path(model, card, few, (4, 31), replace(config, iterations=iterations), betas=betas)
        frame = long.path_iteration.tolist().index(iterations)
        np.testing.assert_array_equal(long.path_images[:, frame], (255 * short.images).round())
        np.testing.assert_allclose(long.path_score[:, frame], short.score, atol=1e-3)
        np.testing.assert_array_equal(long.path_predicted[:, frame], short.predicted)


@pytest.mark.parametrize("tolerance", [0, 1e-2])
@both_methods
def test_images_on_the_way_have_the_recorded_distance(method: Method, tolerance: float, tiny_lgm: Path, few: Split):
    # Levenberg-Marquardt: poisons take over each other's ways, and the images must go with them.
    model, card = load_checkpoint(tiny_lgm)
    poisons = craft_beta_path(
        model, card, few, (4, 31), PoisonConfig(method=method, iterations=60, tolerance=tolerance)
    )
    change = (poisons.path_images / 255 - poisons.bases[:, None] / 255).reshape(*poisons.path_score.shape, PIXELS)
    rounding = np.abs(change).sum(-1) / 255 + PIXELS / 510**2  # each pixel is off by 1/510 at most
    assert (np.abs((change**2).sum(-1) - poisons.path_objective[..., 1]) <= 1.01 * rounding).all()
    features = embed(model, torch.from_numpy(poisons.path_images[:, ::5].reshape(-1, 1, 28, 28) / np.float32(255)))
    expected = poisons.path[:, ::5].reshape(-1, 2)
    np.testing.assert_allclose(features, expected, atol=0.05)
    np.testing.assert_array_equal(poisons.path_images[:, -1], (255 * poisons.images).round())
    np.testing.assert_allclose(poisons.path_score[:, -1], poisons.score, atol=1e-3)
    np.testing.assert_array_equal(poisons.path_predicted[:, -1], poisons.predicted)


def test_bfloat16_finds_as_good_a_poison(bfloat16: None, grey: tuple[Split, Split]):
    model = linear_model()
    beta = np.full(N, EXACT.beta)
    best = closed_form(model, *grey, beta)
    config = replace(EXACT, iterations=300)  # the last tenth is in float32
    np.testing.assert_allclose(craft_poisons(model, *grey, config).images, best, atol=1e-3)


@pytest.mark.parametrize("batch_size", [1, 3, 128])
def test_poison_does_not_depend_on_its_batch(batch_size: int, tiny: Classifier, digits: tuple[Split, Split]):
    config = PoisonConfig(method="fbs", iterations=25, batch_size=batch_size)
    together = craft_poisons(tiny, *digits, config)
    # Matrix products of another size round otherwise, and a step may then be taken or not: compare what was reached.
    for i in (0, 5):
        alone = craft_poisons(tiny, digits[0][np.array([i])], digits[1][np.array([i])], config)
        assert together.objective[i] == pytest.approx(float(alone.objective[0]), rel=1e-2)
        assert np.abs(together.images[i] - alone.images[0]).mean() < 2e-3


def test_step_and_beta_are_each_poisons_own(grey: tuple[Split, Split]):
    # Early on, when far from any minimum and with betas far apart: one step size for all would show at once.
    model, beta = linear_model(), np.geomspace(0.001, 500, N)
    config = PoisonConfig(method="fbs", iterations=12, tolerance=0, batch_size=4)
    together = craft_poisons(model, *grey, config, beta=beta)
    for i in range(N):
        one = np.array([i])
        alone = craft_poisons(model, grey[0][one], grey[1][one], config, beta=beta[one])
        np.testing.assert_allclose(together.images[i], alone.images[0], atol=1e-6)
        np.testing.assert_allclose(together.path_objective[i], alone.path_objective[0], rtol=1e-3, atol=1e-7)
    assert (together.perturbation > 0).sum() > 1


def test_finished_poisons_do_not_hold_up_or_change_the_others(grey: tuple[Split, Split]):
    # Far different betas converge at different times; each must end where it ends alone.
    model, beta = linear_model(), np.geomspace(0.001, 50, N)
    config = PoisonConfig(method="fbs", iterations=600, tolerance=1e-7, patience=10)
    together = craft_poisons(model, *grey, config, beta=beta)
    assert len(set(together.iterations.tolist())) > 1
    assert (together.iterations < 600).all()
    for i in range(N):
        one = np.array([i])
        alone = craft_poisons(model, grey[0][one], grey[1][one], config, beta=beta[one])
        np.testing.assert_allclose(together.images[i], alone.images[0], atol=1e-4)
    np.testing.assert_allclose(together.images, closed_form(model, *grey, beta), atol=1e-3)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("tolerance", [0, 0.02])
def test_progress_never_goes_back_and_reaches_the_total(
    precision: str, tolerance: float, grey: tuple[Split, Split], request: pytest.FixtureRequest
):
    request.getfixturevalue(precision)
    config = PoisonConfig(method="fbs", beta=0.5, iterations=60, tolerance=tolerance, patience=5, batch_size=4)
    seen: list[tuple[int, int]] = []
    poisons = craft_poisons(linear_model(), *grey, config, on_step=lambda done, total: seen.append((done, total)))
    done = [step for step, _ in seen]
    assert {total for _, total in seen} == {N * 60}
    assert done == sorted(done)
    assert done[-1] == N * 60
    if tolerance:
        assert poisons.iterations.max() < 60


def test_stop_leaves_the_points_so_far(grey: tuple[Split, Split]):
    calls: list[int] = []

    def stop_once(done: int, total: int) -> bool:
        calls.append(done)
        return len(calls) != 12

    config = replace(EXACT, batch_size=2)
    poisons = craft_poisons(linear_model(), *grey, config, on_step=stop_once)
    assert len(calls) == 12
    assert poisons.iterations.tolist() == [12, 12, 0, 0, 0, 0]
    twelve = craft_poisons(linear_model(), *grey, replace(config, iterations=12))
    np.testing.assert_allclose(poisons.images[:2], twelve.images[:2], atol=1e-6)
    np.testing.assert_array_equal(poisons.images[2:], grey[0].pixels().numpy()[2:])  # not begun: still the bases
    assert (poisons.perturbation[2:] == 0).all()
    assert (poisons.perturbation[:2] > 0).all()


def test_softmax_network_has_no_scores(grey: tuple[Split, Split]):
    model = linear_model()
    model.head = SoftmaxHead(2, 10)
    poisons = craft_poisons(model, *grey, replace(EXACT, iterations=3))
    assert np.isnan(poisons.score).all()
    assert np.isnan(poisons.path_score).all()
    linear = model.head.classifier
    seen = poisons.path @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    np.testing.assert_array_equal(poisons.path_predicted, seen.argmax(-1))
    assert np.isfinite(poisons.objective).all()


def test_model_is_left_as_it_was(tiny: Classifier, digits: tuple[Split, Split]):
    before = {name: value.clone() for name, value in tiny.state_dict().items()}
    craft_poisons(tiny, *digits, PoisonConfig(method="fbs", iterations=3))
    for name, value in tiny.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in tiny.parameters())


def test_no_poisons_at_all(tiny: Classifier, few: Split):
    nothing = few[np.arange(0)]
    assert len(craft_poisons(tiny, nothing, nothing, PoisonConfig(method="fbs", iterations=3))) == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda b, t: {"targets": t[np.arange(3)]}, r"targets: expected one per base \(6\), got 3"),
        (lambda b, t: {"batch": 0}, "batch: expected at least 1, got 0"),
        (lambda b, t: {"beta": np.ones(3)}, r"beta: expected 6 finite numbers >= 0, got shape \(3,\)"),
        (lambda b, t: {"beta": np.full(6, -0.1)}, r"beta: expected 6 finite numbers >= 0, .*-0\.1"),
        (lambda b, t: {"beta": np.r_[np.ones(5), np.nan]}, r"beta: expected 6 finite numbers >= 0, .*nan"),
        (lambda b, t: {"beta": np.r_[np.ones(5), 1e300]}, r"beta: expected 6 finite numbers >= 0, .*1.0 to inf"),
        (
            lambda b, t: {"bases": Split("small", b.images[:, :, :14, :14], b.labels)},
            r"images: expected shape \(N, 1, 28, 28\), got \(6, 1, 14, 14\)",
        ),
        (
            lambda b, t: {"targets": Split("small", t.images[:, :, :14, :14], t.labels)},
            r"images: expected shape \(N, 1, 28, 28\), got \(6, 1, 14, 14\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(change: Callable[..., dict], message: str, grey: tuple[Split, Split]):
    arguments: dict[str, Any] = {"bases": grey[0], "targets": grey[1]} | change(*grey)
    with pytest.raises(ValueError, match=message):
        craft_poisons(linear_model(), config=EXACT, **arguments)


def test_random_poisons_can_be_repeated_from_their_manifest(tiny_lgm: Path, few: Split, tmp_path: Path):
    model, card = load_checkpoint(tiny_lgm)
    config = PoisonConfig(method="fbs", iterations=4, beta=0.02)

    def craft() -> Poisons:
        return craft_random(model, card, few, 5, config, seed=3)

    poisons = craft()
    bases, targets = pick_pairs(few.labels, 5, 3)
    np.testing.assert_array_equal(poisons.base_index, bases)
    np.testing.assert_array_equal(poisons.target_index, targets)
    np.testing.assert_array_equal(poisons.bases, few.images[bases])
    np.testing.assert_array_equal(poisons.targets, few.images[targets])
    assert not (poisons.labels == poisons.target_labels).any()
    expected = {"model": "tiny-lgm", "weights_sha256": card.weights_sha256, "split_sha256": few.sha256, "seed": 3}
    assert expected.items() <= poisons.manifest.items()
    assert PoisonConfig(**poisons.manifest["config"]) == config
    assert asdict(config) == poisons.manifest["config"]
    poisons.save(tmp_path / "first")
    craft().save(tmp_path / "second")
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    assert read_poisons(tmp_path / "first").manifest == poisons.manifest


def test_path_of_one_pair_over_all_betas(tiny_lgm: Path, grey: tuple[Split, Split]):
    _, card = load_checkpoint(tiny_lgm)
    model, config = linear_model(), replace(EXACT, iterations=60)
    split = Split("grey", np.concatenate([part.images for part in grey]), np.concatenate([p.labels for p in grey]))
    betas = (0.05, 0.5, 5.0)
    poisons = craft_beta_path(model, card, split, (4, 9), config, betas=betas)
    assert poisons.base_index.tolist() == [4, 4, 4]
    assert poisons.target_index.tolist() == [9, 9, 9]
    np.testing.assert_array_equal(poisons.beta, np.array(betas, np.float32))
    for i, beta in enumerate(betas):
        alone = craft_poisons(model, split[np.array([4])], split[np.array([9])], replace(config, beta=beta))
        np.testing.assert_allclose(poisons.images[i], alone.images[0], atol=1e-4)
    assert poisons.manifest["pair"] == (4, 9)
    assert poisons.manifest["split_sha256"] == split.sha256
    assert len(craft_beta_path(model, card, split, (4, 9), replace(config, iterations=1))) == len(BETA_GRID)


@pytest.mark.parametrize("pair", [(-1, 3), (3, 50), (50, 3)])
def test_pair_outside_the_data(pair: tuple[int, int], tiny_lgm: Path, few: Split):
    model, card = load_checkpoint(tiny_lgm)
    with pytest.raises(ValueError, match=rf"pair: expected positions in 0\.\.49, got {pair[0]} and {pair[1]}"):
        craft_beta_path(model, card, few, pair, EXACT)


def test_pair_of_one_class(tiny_lgm: Path, few: Split):
    model, card = load_checkpoint(tiny_lgm)
    same = np.flatnonzero(few.labels == 3)[:2].tolist()
    with pytest.raises(ValueError, match="pair: expected two classes, got two images of class 3"):
        craft_beta_path(model, card, few, (same[0], same[1]), EXACT)


def test_too_many_random_poisons(tiny_lgm: Path, few: Split):
    model, card = load_checkpoint(tiny_lgm)
    with pytest.raises(ValueError, match=r"poisons: expected 1\.\.50 .*got 51"):
        craft_random(model, card, few, 51, PoisonConfig(method="fbs", iterations=1), seed=0)


def test_features_of_any_dimension(few: Split):
    from lgm.models.classifier import build_model

    model = build_model(ModelConfig(network="tiny-cnn", n_dim=5)).eval().requires_grad_(False)
    model.feature_scale = torch.ones(5)
    poisons = craft_poisons(model, few[np.arange(3)], few[np.arange(47, 50)], PoisonConfig(method="fbs", iterations=10))
    assert poisons.z.shape == (3, 5)
    assert (poisons.path_objective[:, -1, 0] < poisons.path_objective[:, 0, 0]).all()
