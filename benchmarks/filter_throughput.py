"""How fast `filter` embeds files, against the bare forward pass on the same images in memory; and its peak memory.

`python benchmarks/filter_throughput.py` alternates both in one run, with threads and with processes that read, and
prints images a second (medians over rounds), the ratio of each to the bare pass of its own round, and the time of all
cores, which says more where other programs run beside it.
`--memory 1000000` writes so many small PNG files into a temporary folder instead, filters them with a report in a
process of its own, and prints how long that took and its peak resident memory.
"""

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for lgm, in a checkout

from lgm.data.loader import open_images, read_batch
from lgm.data.registry import load_split
from lgm.data.scan import ImageFile, Skipped
from lgm.data.store import Registration
from lgm.detection.embedded import embed_table
from lgm.detection.image_table import ImageTable
from lgm.models.checkpoint import load_checkpoint
from lgm.models.scoring import embed
from lgm.utils.images import png
from lgm.utils.json import to_json
from lgm.utils.paths import home
from lgm.utils.tables import write_records
from lgm.utils.threads import one_thread_if, usable_cores

_COPIES = 1000  # different images among those of `--memory`


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="mnist-lgm")
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--memory", type=int, metavar="N", help="measure the memory of so many images instead")
    parser.add_argument("--folder", type=Path, help="where to put the files of --memory (default: a temporary folder)")
    args = parser.parse_args()
    if args.memory:
        with tempfile.TemporaryDirectory(dir=args.folder) as folder:
            measure_memory(Path(folder), args.memory, args.model)
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure_throughput(Path(folder), args.images, args.model, args.rounds)


def measure_throughput(folder: Path, count: int, source: str, rounds: int) -> None:
    """Bare pass and ways of reading, in turn."""
    model, card = load_checkpoint(source)
    split = load_split("bundled")[np.arange(count) % 5000]
    paths = np.array([f"{i}.png" for i in range(count)], object)
    for path, image in zip(paths, split.images, strict=True):
        (folder / path).write_bytes(png(image))
    table = ImageTable(
        "bench", True, folder, card.class_names, paths, split.labels.astype(np.int32), np.zeros(count, "S32")
    )
    _, stored = read_batch(open_images(folder, paths.tolist(), model.image_shape), range(count))
    pixels = stored.float().div_(255)
    torch.set_num_threads(usable_cores())

    def streamed(workers: int) -> Callable[[], object]:
        return lambda: embed_table(model, card.class_names, table, workers=workers)

    def bare_on_one() -> None:
        with one_thread_if(True):
            embed(model, pixels)

    ways: dict[str, Callable[[], object]] = {"bare forward pass": lambda: embed(model, pixels)}
    ways["bare, on one thread"] = bare_on_one
    ways |= {f"from files, {w} workers" if w else "from files, threads": streamed(w) for w in (0, 1, 2)}
    measured: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
    for _ in range(rounds + 1):
        for name, run in ways.items():
            measured[name].append(seconds_of(run))
    print(f"{source}, {count:,} images of {model.image_shape}, {usable_cores()} cores, load {os.getloadavg()[0]:.1f}")
    bare = [wall for wall, _ in measured["bare forward pass"][1:]]  # the first round warms up
    for name, found in measured.items():
        walls, cpu = zip(*found[1:], strict=True)
        ratios = [base / wall for wall, base in zip(walls, bare, strict=True)]
        print(
            f"{name:<28}{count / median(walls):>9,.0f} images/s   ratio {median(ratios):.3f} ({min(ratios):.3f} to "
            f"{max(ratios):.3f})   {1e6 * median(cpu) / count:,.0f} core-microseconds an image"
        )


def seconds_of(run: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock seconds, and those of all cores together, in this process and those that it has waited for."""
    cpu, start = sum(os.times()[:4]), time.perf_counter()
    run()
    return time.perf_counter() - start, sum(os.times()[:4]) - cpu


def measure_memory(folder: Path, count: int, source: str) -> None:
    """Filter many files, in a process of its own."""
    os.environ["LGM_HOME"] = str(folder / "home")
    start = time.perf_counter()
    register_many(folder / "images", count)
    print(f"{count:,} files written in {time.perf_counter() - start:,.0f} s", flush=True)
    out, report = str(folder / "kept.csv"), str(folder / "report.html")
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "lgm", "filter", "many", "--model", source, "--out", out, "--report", report]
    )
    _, status, used = os.wait4(child.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(status)
    rows = Path(out).read_bytes().count(b"\n") - 1
    print(
        f"filter: {rows:,} rows, {seconds:,.0f} s, {count / seconds:,.0f} images/s, peak {used.ru_maxrss / 2**20:.2f} "
        f"GiB; {usable_cores()} cores, load {os.getloadavg()[1]:.1f}"
    )


def register_many(folder: Path, count: int) -> None:
    """What `lgm data add` would write of such a folder, without reading it again."""
    split = load_split("bundled")[np.arange(_COPIES) * 5]
    images, labels = [png(image) for image in split.images], [str(label) for label in split.labels.tolist()]
    for label in set(labels):
        (folder / label).mkdir(parents=True)

    def files() -> Iterator[ImageFile]:
        for i in range(count):
            # What follows the end of a PNG is passed over: so each file has a hash of its own.
            content, path = images[i % _COPIES] + str(i).encode(), f"{labels[i % _COPIES]}/{i:07}.png"
            (folder / path).write_bytes(content)
            yield ImageFile(path, labels[i % _COPIES], hashlib.sha256(content).hexdigest(), 28, 28, True)

    place = home() / "datasets" / "many"
    place.mkdir(parents=True)
    write_records(place / "images.csv", ImageFile, files())
    write_records(place / "skipped.csv", Skipped, [])
    made = Registration("many", str(folder), "folder", tuple(sorted(set(labels))), (1, 28, 28), count, "2026-01-01")
    (place / "about.json").write_text(to_json(made))


if __name__ == "__main__":
    main()
