"""Poisons in formats that other programs read: images of 8 bits with a table, or arrays."""

import csv
import io
import math
import tempfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lgm.attacks.result import Poisons, largest_change, squared_change
from lgm.utils.images import png
from lgm.utils.json import to_json

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier


_DAY = (1980, 1, 1, 0, 0, 0)  # the same poisons give the same bytes


def rounded(model: "Classifier", poisons: Poisons) -> Poisons:
    """The same poisons with pixels rounded to 8 bits, as an image file keeps them, and embedded anew.

    Args:
        model: The network that they were crafted on.
        poisons: N poisons.

    Returns:
        Poisons whose ``images``, ``z``, ``score``, ``predicted``, ``collision``, ``perturbation`` and ``linf`` are
        those of the rounded images; what was recorded on the way stays. Without the bases ``perturbation`` and
        ``linf`` are NaN.
    """
    import torch

    from lgm.models.classifier import device_of
    from lgm.models.scoring import embed

    images = np.rint(255 * poisons.images).astype(np.float32) / 255
    z = embed(model, torch.from_numpy(images))
    with torch.inference_mode():
        device = device_of(model)
        predicted = model.head.logits(z.to(device)).argmax(-1).cpu().numpy().astype(np.uint8)
        labels = torch.from_numpy(poisons.labels.astype(np.int64)).to(device)
        score = model.head.log_likelihood(z.to(device), labels).cpu().numpy()
        gap = model.feature_scale.cpu() * (z - torch.from_numpy(poisons.target_z))
    bases = poisons.base_images
    unknown = np.full(len(images), np.nan, np.float32)
    return replace(
        poisons,
        images=images,
        z=z.numpy(),
        score=score,
        predicted=predicted,
        collision=gap.square().sum(-1).numpy(),
        perturbation=unknown if bases is None else squared_change(images, bases),
        linf=unknown if bases is None else largest_change(images, bases),
    )


def arrays(poisons: Poisons) -> bytes:
    """A NumPy archive (.npz, no pickle): images, bases, targets, labels, what came of them; ``config`` is JSON text.

    ``images`` (N, C, H, W) float32 in [0, 1] and ``labels`` (N,), the claimed ones, are what a filter needs. ``bases``
    and ``targets`` are left out where this machine does not have them.
    """
    pairs = ("bases", "targets") if poisons.has_pairs else ()
    names = ("images", *pairs, "labels", "target_labels", "base_index", "target_index", "predicted")
    kept = {name: getattr(poisons, name) for name in (*names, "z", "target_z", "score", "beta", "iterations")}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **kept, config=np.array(to_json(poisons.manifest)))
    return buffer.getvalue()


def safetensors(poisons: Poisons) -> bytes:
    """What `Poisons.save` writes, and `read_poisons` reads: every bit."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "poisons.safetensors"
        poisons.save(path)
        return path.read_bytes()


def archive(poisons: Poisons, classes: tuple[str, ...], model: "Classifier | None" = None) -> bytes:
    """A zip of what `as_files` gives."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as out:
        for name, content in as_files(poisons, classes, model).items():
            out.writestr(zipfile.ZipInfo(name, _DAY), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def as_files(poisons: Poisons, classes: tuple[str, ...], model: "Classifier | None" = None) -> dict[str, bytes]:
    """Poisons as PNGs of 8 bits and as tables, by name; ``poisons.csv`` is the last.

    - ``poisons/*.png``; ``poisons.csv`` with a row for each: labels, positions, distances, what the network sees;
    - ``poisons.json``: how they were made;
    - ``base_indices.json`` and ``target.json``: positions of the bases, and position and class of the target or of each
      target. With the PNGs and their labels these are what ``poisons.pickle``, ``base_indices.pickle`` and
      ``target.pickle`` hold in the benchmark of Schwarzschild et al., Just How Toxic is Data Poisoning?, ICML 2021.

    Args:
        poisons: N poisons.
        classes: Names of the labels.
        model: The network that they were crafted on, for what it makes of the rounded images; None leaves that out.
    """
    stored = rounded(model, poisons) if model is not None else None
    names = [_file_name(poisons, i, classes) for i in range(len(poisons))]
    files = {name: png(image) for name, image in zip(names, poisons.images, strict=True)}
    files["poisons.json"] = to_json(poisons.manifest, indent=1).encode()
    files["base_indices.json"] = to_json(poisons.base_index.tolist()).encode()
    files["target.json"] = to_json(_targets(poisons)).encode()
    return {**files, "poisons.csv": _table(names, poisons, stored, classes).encode()}


def _targets(poisons: Poisons) -> Any:
    """Position and class of the target that all poisons have; else a list, of that of each."""
    each = zip(poisons.target_index.tolist(), poisons.target_labels.tolist(), strict=True)
    found = [{"index": position, "label": label} for position, label in each]
    return found[0] if all(target == found[0] for target in found) else found


def _file_name(poisons: Poisons, i: int, classes: tuple[str, ...]) -> str:
    said, meant = (
        "".join(letter if letter.isalnum() else "-" for letter in classes[group[i]])
        for group in (poisons.labels, poisons.target_labels)
    )
    return f"poisons/{i:04d}-{said}-as-{meant}.png"


def _table(names: list[str], poisons: Poisons, stored: Poisons | None, classes: tuple[str, ...]) -> str:
    """CSV; a cell is empty where there is no number, such as the likelihood under a softmax network."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    after = ["predicted_8_bit", "collides_8_bit", "log_likelihood_nats_8_bit"] if stored is not None else []
    head = ["file", "base_position", "target_position", "claimed_label", "target_label", "beta", "iterations", "l2"]
    writer.writerow([*head, "linf", "predicted", "collides", "log_likelihood_nats", *after])
    l2, linf = poisons.l2, poisons.linf
    for i, name in enumerate(names):
        where = int(poisons.base_index[i]), int(poisons.target_index[i])
        labels = classes[poisons.labels[i]], classes[poisons.target_labels[i]]
        sizes = f"{poisons.beta[i]:.6g}", int(poisons.iterations[i]), f"{l2[i]:.6g}", f"{linf[i]:.6g}"
        later = _seen(stored, i, classes) if stored is not None else []
        writer.writerow([name, *where, *labels, *sizes, *_seen(poisons, i, classes), *later])
    return text.getvalue()


def _seen(poisons: Poisons, i: int, classes: tuple[str, ...]) -> list[str]:
    """What the network makes of a poison: its class, whether it collides, log p(f(x) | claimed label)."""
    score = float(poisons.score[i])
    collides = "yes" if poisons.collided[i] else "no"
    return [classes[poisons.predicted[i]], collides, f"{score:.6g}" if math.isfinite(score) else ""]
