"""python -m lgm results: documents rendered from the records."""

import argparse
from typing import Any

from lgm.cli.options import add_command
from lgm.cli.tables import Answer
from lgm.models.card import CheckpointError


def add_results(commands: Any) -> None:
    """Add the command ``results``."""
    parser = add_command(
        commands, "results", _results, "Render the numbers in README and docs from the records, or check that they are."
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail if a document differs from the records, or a record is older than the attack",
    )


def _results(args: argparse.Namespace) -> Answer:
    from lgm.reports.documents import DOCUMENTS, ROOT, problems, write_documents

    root = ROOT
    missing = [name for name in DOCUMENTS if not (root / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{root}: expected the project's documents, found no {', '.join(missing)}; use a checkout"
        )
    if not args.check:
        return Answer({"rendered": write_documents(root), "checked": list(DOCUMENTS)})
    if found := problems(root):
        raise CheckpointError("\n".join(["documents or records are not as they should be:", *found]))
    return Answer({"checked": list(DOCUMENTS)})
