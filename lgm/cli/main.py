"""The command line: `python -m lgm COMMAND`.

Results go to standard output (``--json``: one JSON object, a list for a sweep), progress and errors to standard error.
Exit codes: 0 done, 1 the message or the answer says what is wrong, 2 bad usage, 130 interrupted, 141 nobody reads the
output.
"""

import argparse
import signal
import sys

from lgm.cli.bench import add_bench
from lgm.cli.board import add_board
from lgm.cli.craft import add_craft
from lgm.cli.data import add_data_commands
from lgm.cli.defend import add_defend
from lgm.cli.detect import add_detect
from lgm.cli.evaluate import add_evaluate
from lgm.cli.filter import add_filter
from lgm.cli.options import check_options
from lgm.cli.report import add_report
from lgm.cli.results import add_results
from lgm.cli.seeds import add_seeds
from lgm.cli.train import add_train
from lgm.data.base import DataError
from lgm.models.card import CheckpointError
from lgm.models.registry import list_checkpoints
from lgm.utils.console import HUNG_UP, flush, give_up, say_every_letter, visible
from lgm.utils.json import to_json
from lgm.utils.shutdown import end_soon_after_signals
from lgm.utils.threads import limit_threads

_EXAMPLES = """examples:
  python -m lgm evaluate mnist-lgm                     accuracy on the bundled digits
  python -m lgm craft mnist-lgm --poisons 100 --seed 1 --out poisons.safetensors
  python -m lgm detect mnist-lgm poisons.safetensors   AUC, TPR and FPR of the likelihood filter
  python -m lgm defend mnist-lgm --seed 1              attack success: without the filter, with it
  python -m lgm report --quick --out report.html       the paper's figures and claims, measured
  python -m lgm train mnist-lgm --name mine --data bundled-train --epochs 5
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    limit_threads()
    say_every_letter()
    try:
        try:
            return _run(argv)
        finally:  # argparse ends in its own way, once it has helped
            flush()
    except OSError as error:  # of the output itself
        give_up()
        if isinstance(error, BrokenPipeError):
            return HUNG_UP
        print(f"error: the output cannot be written ({error.strerror})", file=sys.stderr)
        return 1


def run() -> None:
    """Entry point of the process: signals end it as they end any other."""
    end_soon_after_signals(lambda number: signal.default_int_handler)
    sys.exit(main())


def _run(argv: list[str] | None) -> int:
    args = build_parser().parse_args(argv)
    try:
        _check_first(args)
        result = args.run(args)
    except KeyboardInterrupt as stop:
        print("; ".join(["interrupted", *getattr(stop, "__notes__", [])]), file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except _expected_errors() as error:
        print(f"error: {visible(_by_option(str(error), args))}", file=sys.stderr)
        return 1
    if result is None:  # only the first of several processes has something to say
        return 0
    print(to_json(result.values) if args.json else visible(result.text()))
    return result.code


def _expected_errors() -> tuple[type[Exception], ...]:
    from lgm.training.run import TrainingError

    return (DataError, CheckpointError, TrainingError, ValueError, OSError, ImportError, MemoryError)


def _check_first(args: argparse.Namespace) -> None:
    """What makes no sense whatever the network and the data, before either is read; configs check the rest.

    Raises:
        ValueError: named after the option.
    """
    check_options(args)
    if getattr(args, "device", "cpu") != "cpu":
        from lgm.models.classifier import check_device

        check_device(args.device)


def _by_option(message: str, args: argparse.Namespace) -> str:
    """The same message, with what it is about as the command line has it: "--likelihood-weight: expected ..."."""
    names, colon, rest = message.partition(": ")
    options = {action.dest: action.option_strings[-1] for action in args.command._actions if action.option_strings}
    meant = [options.get(name) for name in names.split(", ")]
    return f"{', '.join(map(str, meant))}{colon}{rest}" if colon and all(meant) else message


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="python -m lgm",
        description="Clean-label poisons against networks trained with softmax or Gaussian mixture (LGM) loss.",
        epilog=_EXAMPLES + "\nmodels: " + (", ".join(list_checkpoints()) or "none yet"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        required=True,
        metavar="train | evaluate | craft | detect | defend | board | data | filter | report | results | seeds | bench",
    )
    add_train(commands)
    add_evaluate(commands)
    add_craft(commands)
    add_detect(commands)
    add_defend(commands)
    add_board(commands)
    add_data_commands(commands)
    add_filter(commands)
    add_report(commands)
    add_results(commands)
    add_seeds(commands)
    add_bench(commands)
    return parser
