"""The shipped numbers are what the shipped networks and the project's own commands make."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom

from lgm.cards import SHIPPED, read_card, read_features
from lgm.checkpoints import embed_split, load_checkpoint, weights_sha256
from lgm.config import BETA_GRID, PRESETS, PoisonConfig
from lgm.data import Split
from lgm.detection import conformal_threshold, is_removed
from lgm.networks import embed, log_likelihood
from lgm.poisoning import craft_poisons
from lgm.poisons import pick_pairs, read_shipped_poisons

MODELS = ["mnist-lgm", "mnist-softmax"]


@pytest.mark.parametrize("name", MODELS)
def test_the_card_tells_how_the_network_was_made(name: str, bundled: Split) -> None:
    model, card = load_checkpoint(SHIPPED / f"{name}.safetensors")
    assert card.config == PRESETS[name]
    assert card.config.split == "train"
    assert len(card.history) == card.config.epochs
    assert card.weights_sha256 == weights_sha256(model.state_dict())
    assert card.data_sha256["bundled"] == bundled.sha256
    assert set(card.accuracy) == {"train", "bundled", "test"}
    assert card.accuracy["test"] >= 0.992


@pytest.mark.parametrize("name", MODELS)
def test_the_stored_features_are_those_of_the_network(name: str, bundled: Split) -> None:
    model, card = load_checkpoint(name)
    stored = read_features(name)
    assert {key: len(features.z) for key, features in stored.splits.items()} == {
        "train": 55_000,
        "bundled": 5_000,
        "test": 10_000,
    }
    sample = np.random.default_rng(0).permutation(len(bundled))[:200]
    fresh, kept = embed_split(model, bundled[sample]), stored.splits["bundled"]
    span = kept.z.max(0) - kept.z.min(0)
    np.testing.assert_allclose(fresh.z / span, kept.z[sample] / span, atol=1e-4)
    np.testing.assert_array_equal(fresh.labels, kept.labels[sample])
    for split, features in stored.splits.items():
        assert card.accuracy[split] == pytest.approx((features.predicted == features.labels).mean())
    np.testing.assert_allclose(card.feature_min, kept.z.min(0), rtol=1e-6)
    np.testing.assert_allclose(card.feature_max, kept.z.max(0), rtol=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_the_stored_poisons_are_lossless_and_say_the_truth(name: str, bundled: Split) -> None:
    model, card = load_checkpoint(name)
    poisons = read_shipped_poisons(name)
    assert len(poisons) == 500
    assert poisons.manifest["weights_sha256"] == card.weights_sha256
    assert poisons.manifest["split_sha256"] == bundled.sha256
    assert poisons.manifest["config"]["beta"] == pytest.approx(8e-3)
    bases, targets = pick_pairs(bundled.labels, 500, poisons.manifest["seed"])
    np.testing.assert_array_equal(poisons.base_index, bases)
    np.testing.assert_array_equal(poisons.target_index, targets)
    np.testing.assert_array_equal(poisons.bases, bundled.images[bases])
    np.testing.assert_array_equal(poisons.targets, bundled.images[targets])

    sample = np.arange(0, 500, 25)
    z = embed(model, torch.from_numpy(poisons.images[sample])).numpy()
    collision = ((card.feature_scale * (z - poisons.target_z[sample])) ** 2).sum(1)
    change = poisons.images[sample] - bundled.images[bases[sample]].astype(np.float32) / 255
    np.testing.assert_allclose(collision, poisons.collision[sample], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose((change**2).sum((1, 2, 3)), poisons.perturbation[sample], rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_crafting_again_reaches_the_stored_objective(name: str, bundled: Split) -> None:
    model, _ = load_checkpoint(name)
    stored = read_shipped_poisons(name)[np.arange(8)]
    again = craft_poisons(
        model,
        bundled[stored.base_index],
        bundled[stored.target_index],
        PoisonConfig(**stored.manifest["config"]),
    )
    # Rounding differs between machines and may send a single poison into another valley, but not most of them.
    ratio = again.objective / stored.objective
    assert np.median(ratio) == pytest.approx(1, abs=0.01)
    assert again.objective.mean() == pytest.approx(float(stored.objective.mean()), rel=0.1)


@pytest.mark.parametrize("name", MODELS)
def test_the_example_is_one_pair_at_every_stop_of_the_slider(name: str) -> None:
    example = read_shipped_poisons(name, "example")
    np.testing.assert_allclose(example.beta, BETA_GRID, rtol=1e-6)
    assert len(np.unique(example.base_index)) == len(np.unique(example.target_index)) == 1
    assert example.l2[0] > 2 * example.l2[-1], "a larger beta keeps the poison closer to its base"
    assert example.manifest["weights_sha256"] == read_card(name).weights_sha256


@pytest.mark.parametrize("name", MODELS)
def test_the_way_of_the_example_is_that_of_its_images(name: str) -> None:
    model, _ = load_checkpoint(name)
    example = read_shipped_poisons(name, "example")
    np.testing.assert_array_equal(example.path_images[:, -1], (255 * example.images).round())
    np.testing.assert_array_equal(example.path_predicted[:, -1], example.predicted)
    np.testing.assert_allclose(example.path_score[:, -1], example.score, atol=1e-3)
    frames = np.arange(0, len(example.path_iteration), 5)
    images = torch.from_numpy(example.path_images[::4, frames].reshape(-1, 1, 28, 28) / np.float32(255))
    labels = torch.from_numpy(np.repeat(example.labels[::4], len(frames)))
    span = example.path.max((0, 1)) - example.path.min((0, 1))
    path = example.path[::4, frames].reshape(-1, 2)
    np.testing.assert_allclose(
        embed(model, images).numpy() / span, path / span, atol=0.03
    )  # of images rounded to 8 bits
    if name == "mnist-lgm":
        score = log_likelihood(model, images, labels)
        np.testing.assert_allclose(score, example.path_score[::4, frames].flatten(), atol=0.3)
    assert read_shipped_poisons(name).path_images.shape == (500, 0, 1, 28, 28)


@pytest.mark.parametrize("fpr", [0.01, 0.05, 0.1])
def test_the_calibrated_threshold_removes_as_many_clean_digits_as_the_theorem_says(fpr: float) -> None:
    """200 random splits of real scores: how many are removed is beta-binomial, in mean, spread and tails."""
    score = read_features("mnist-lgm").splits["bundled"].score
    n, m, splits = 1000, 4000, 200
    k = math.floor(fpr * (n + 1))
    theory = betabinom(m, k, n + 1 - k)
    removed = np.empty(splits)
    for i in range(splits):
        shuffled = np.random.default_rng([7, i]).permutation(score)
        removed[i] = is_removed(shuffled[n:], conformal_threshold(shuffled[:n], fpr)).sum()
    error = theory.std() / math.sqrt(splits)
    assert theory.mean() <= fpr * m
    assert abs(removed.mean() - theory.mean()) <= 3 * error
    assert removed.std() == pytest.approx(theory.std(), rel=0.2)
    low, high = theory.ppf([0.025, 0.975])
    assert 0.9 <= ((removed >= low) & (removed <= high)).mean() <= 0.99
