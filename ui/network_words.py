"""Networks and recipes in the words of the Train page."""

from lgm.config import TrainConfig
from lgm.data.registry import DATASETS, find_dataset, held_out_of
from lgm.models.architectures import LITE0
from lgm.stats.intervals import wilson_interval
from ui import load, training_runs

LOSSES = {"lgm": "LGM", "softmax": "Softmax"}
NETWORKS = {
    "tiny-cnn": "Tiny",
    "mnist-cnn": "The paper's",
    "small": "Small CNN",
    "resnet18": "ResNet-18",
    "vgg19": "VGG19",
    LITE0: "EfficientNet-Lite0, frozen",
}


def data_text(split: str, dataset: str | None = None) -> str:
    """Training data in a few words; of the chosen dataset unless one is named."""
    chosen = find_dataset(dataset) if dataset else load.dataset()
    if split == "bundled-train":
        return "4,000 bundled digits"
    if split == "train":
        return f"D_C: {chosen.train_size:,} {'official images' if chosen.name in DATASETS else 'of your images'}"
    return f"{chosen.title}, {split}"


def recipe_text(config: TrainConfig) -> str:
    """How a network is trained, in a line."""
    model = config.model
    parts = [LOSSES[model.loss]]
    if model.loss == "lgm":
        parts.append(f"α = {model.margin:g}, λ = {model.likelihood_weight:g}")
        parts += ["diagonal covariance"] if model.covariance == "diagonal" else []
    own = {"tiny-cnn": "tiny network", "mnist-cnn": "the paper's network"}
    parts.append(own.get(model.network) or NETWORKS.get(model.network, model.network))
    parts += [f"{model.n_dim} features"] if model.n_dim != 2 else []
    return ", ".join([*parts, data_text(config.split, config.dataset), f"seed {config.phases[-1].seed}"])


def accuracy_text(name: str) -> str:
    """How good a saved network is, with the uncertainty that so many images leave."""
    card, (share, low, high) = load.card(name), held_out_accuracy(name)
    text = f"held-out accuracy **{percent(share)}** ({100 * low:.1f} to {percent(high)})"
    if "test" in card.accuracy:
        text += f", test set **{percent(card.accuracy['test'])}**"
    if card.closest_centers is not None:
        text += f", closest class means {card.closest_centers:.2f} apart"
    return text + "."


def held_out_accuracy(name: str) -> tuple[float, float, float]:
    """Share of the images that no run here trains on, and its 95 % interval."""
    dataset = load.card(name).config.dataset
    seen = training_runs.held_out(load.features(name).splits[held_out_of(dataset)], dataset)
    hits = int((seen.predicted == seen.labels).sum())
    return hits / len(seen.labels), *wilson_interval(hits, len(seen.labels))


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"
