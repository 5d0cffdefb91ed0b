"""A recipe as JSON: the layout that is written, and the one that cards of format 1 and states of their time have."""

from dataclasses import asdict, replace
from typing import Any

from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.utils.codec import encode

_LATER = ("init", "weights_sha256", "image_shape")  # what format 1 has no field for
_OF_RECIPE = ("dataset", "split", "limit")


def recipe_to_dict(config: TrainConfig) -> dict[str, Any]:
    """Plain values, as JSON gives them back; `recipe_from_dict` is the way back."""
    return encode(asdict(config))


def recipe_from_dict(values: dict[str, Any]) -> TrainConfig:
    """The recipe that a card or a state describes, in either layout.

    Raises:
        TypeError, KeyError, ValueError: a field is missing, unknown, or of another type or value.
    """
    if "phases" not in values:
        return _from_nested(values)
    given: dict[str, Any] = {**values, "phases": tuple(_phase(phase) for phase in values["phases"])}
    return TrainConfig(**given)


def to_nested(config: TrainConfig) -> dict[str, Any]:
    """The layout of format 1: the last phase outermost, the one before it under ``warm_start``, and so on.

    Each phase had a split and a limit of its own, without effect: those of all recipes that there were.
    """
    layout: dict[str, Any] | None = None
    for phase in config.phases:
        model = {name: value for name, value in asdict(phase.model).items() if name not in _LATER}
        values = asdict(phase) | {"model": model, "dataset": config.dataset, "split": "train", "limit": None}
        if phase.small_by == "scale":  # all that format 1 knows; states are named by this layout
            del values["small_by"]
        layout = {name: value for name, value in values.items() if name not in _LATER} | {"warm_start": layout}
    return encode(layout)


def _from_nested(values: dict[str, Any]) -> TrainConfig:
    """How a phase begins was not written: it continued where nothing but the kind of Gaussians had changed."""
    layouts, phases = [values], list[Phase]()
    while before := layouts[-1].get("warm_start"):
        layouts.append({**before})
    for layout in reversed(layouts):
        model, init = _model(layout["model"]), "fresh"
        if phases:
            same = replace(phases[-1].model, covariance=model.covariance, learn_priors=model.learn_priors) == model
            init = "continue" if same else "project"
        own = {name: value for name, value in layout.items() if name not in (*_OF_RECIPE, "warm_start")}
        phases.append(_phase(own | {"init": init}))
    return TrainConfig(phases=tuple(phases), **{name: values[name] for name in _OF_RECIPE if name in values})


def _phase(values: dict[str, Any]) -> Phase:
    given: dict[str, Any] = {**values, "model": _model(values["model"])}
    return Phase(**given)


def _model(values: dict[str, Any]) -> ModelConfig:
    given: dict[str, Any] = {**values}
    for name in ("center_order", "image_shape"):  # JSON has lists only
        given[name] = tuple(given.get(name, ()))
    return ModelConfig(**given)
