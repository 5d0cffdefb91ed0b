import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
# A thread of a pool, which Python would wait for, in a step that takes ten minutes.
STUCK = """
import signal, sys, time
from concurrent.futures import ThreadPoolExecutor
from lgm.utils.shutdown import end_soon_after_signals

# One write a line: print writes the end of the line by itself, and two threads speak here.
def say(line):
    sys.stdout.write(line + "\\n")
    sys.stdout.flush()

end_soon_after_signals(lambda number: signal.default_int_handler, stop=lambda: say("told"), grace=1)
pool = ThreadPoolExecutor(1)
pool.submit(time.sleep, 600)
try:
    say("begun")
    time.sleep(600)
except KeyboardInterrupt:
    say("interrupted")
"""
USUAL = """
import signal, time
from lgm.utils.shutdown import end_soon_after_signals

signal.signal(signal.SIGTERM, lambda number, frame: print("as usual", flush=True))
end_soon_after_signals(signal.getsignal, grace=1)
print("begun", flush=True)
time.sleep(600)
"""


def told_to_end(code: str, number: signal.Signals) -> tuple[int, list[str]]:
    """The exit code of a process that gets a signal once it has begun, and what it says from then on."""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(number)
    try:
        said, _ = process.communicate(timeout=120)
    finally:
        process.kill()
    return process.returncode, said.splitlines()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_process_ends_though_a_thread_does_not(number: signal.Signals, code: int):
    returned, said = told_to_end(STUCK, number)
    assert (returned, sorted(said)) == (code, ["interrupted", "told"])


def test_what_a_signal_did_before_it_does_still():
    assert told_to_end(USUAL, signal.SIGTERM) == (143, ["as usual"])
