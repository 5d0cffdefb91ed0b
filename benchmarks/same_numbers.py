"""Does a change leave every number alone? Two checkouts run the same commands, and what they find is compared.

`python benchmarks/same_numbers.py BEFORE AFTER`, two folders with the project in it. Both run under this Python, so
that nothing but the code differs. A line a command: "same", or what differs. Ends with 1 if anything does.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

from safetensors.numpy import load_file

NETWORKS = ("mnist-lgm", "mnist-softmax", "cifar10-lgm", "cifar10-softmax")  # CIFAR-10's need the images (LGM_DATA)
_PASSING = ("out", "seconds", "saved", "created")  # what may differ from run to run


def commands(with_cifar: bool) -> Iterator[list[str]]:
    """What is run, in this order, in a folder of its own; files named there are looked into as well."""
    for name in NETWORKS if with_cifar else NETWORKS[:2]:
        data = ["--data", "bundled" if name.startswith("mnist") else "held-out"]
        for method, iterations in (("lm", "20"), ("fbs", "50")):
            extra = ["--method", method, "--iterations", iterations, "--out", f"{name}-{method}.safetensors"]
            yield ["craft", name, *data, "--poisons", "20", "--seed", "1", *extra]
        yield ["evaluate", name, *data]
        yield ["defend", name, *data, "--trials", "10", "--seed", "1"]
        if name.endswith("lgm"):
            yield ["detect", name, f"{name}-lm.safetensors", *data]
    yield ["train", "tiny-lgm", "--name", "trained", "--out", ".", "--epochs", "2", "--limit", "100", "--seed", "1"]


def run(checkout: Path, folder: Path, command: list[str]) -> Any:
    """What a command prints as JSON, without what passes."""
    environment = {**os.environ, "PYTHONPATH": str(checkout.resolve()), "LGM_HOME": str(folder), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, "-m", "lgm", *command, "--json"]
    done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{checkout}: {' '.join(command)}: {done.stderr.strip()}")
    return _without(json.loads(done.stdout))


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(item) for key, item in value.items() if key not in _PASSING}
    return [_without(item) for item in value] if isinstance(value, list) else value


def hashes(path: Path) -> dict[str, str]:
    """Of each array in a file."""
    return {name: sha256(array.tobytes()).hexdigest()[:16] for name, array in sorted(load_file(path).items())}


def differences(before: Any, after: Any, where: str = "") -> Iterator[str]:
    """Every value that is not the same, by its place."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in sorted({*before, *after}):
            yield from differences(before.get(key), after.get(key), f"{where}.{key}".lstrip("."))
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for i, pair in enumerate(zip(before, after, strict=True)):
            yield from differences(*pair, f"{where}[{i}]")
    elif before != after:
        yield f"{where}: {before} became {after}"


def main() -> int:
    """Run all in both checkouts."""
    checkouts = [Path(name) for name in sys.argv[1:]]
    if len(checkouts) != 2 or not all((checkout / "lgm").is_dir() for checkout in checkouts):
        print("usage: python benchmarks/same_numbers.py BEFORE AFTER, two checkouts of the project", file=sys.stderr)
        return 2
    found = 0
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as second:
        folders = Path(first), Path(second)
        for command in commands(with_cifar="LGM_DATA" in os.environ):
            results = [run(*of, command) for of in zip(checkouts, folders, strict=True)]
            wrong = list(differences(*results))
            for path in sorted(folders[0].glob("*.safetensors")):
                wrong += differences(hashes(path), hashes(folders[1] / path.name), path.name)
            print(" ".join(command[:2]), "same" if not wrong else "; ".join(wrong[:5]), flush=True)
            found += len(wrong)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
