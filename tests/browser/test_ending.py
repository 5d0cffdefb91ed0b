"""The server that is told to end in the middle of a run: it does, and the last finished epoch is kept."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from playwright.sync_api import Page

from lgm.training.state import read_progress
from tests.browser.driver import ROOT, await_health
from tests.browser.test_train import train

pytestmark = pytest.mark.browser
PATIENCE = 60  # seconds for what should take 5: machines are shared. A run that is not told takes minutes to end


def test_a_server_ends_soon_and_keeps_the_last_epoch(page: Page, fresh_home: Path, tmp_path: Path) -> None:
    home, log = fresh_home, tmp_path / "log"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "streamlit", "run", "app.py", f"--server.port={port}"]
    environment = {**os.environ, "LGM_HOME": str(home)}
    with log.open("w") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        url = f"http://127.0.0.1:{port}"
        await_health(url, server)
        train(page, url, "cut-short", 200)
        state = home / "checkpoints" / "cut-short.resume.safetensors"
        while not state.exists() or not (begun := read_progress(state).history):
            assert server.poll() is None
            time.sleep(0.1)
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=PATIENCE)
    finally:
        server.kill()
        server.wait()
    left = read_progress(state)
    assert len(begun) <= len(left.history) < 200
    assert [path.name for path in state.parent.iterdir()] == [state.name], "no lock is left, nor half a file"
    assert "Traceback" not in log.read_text()
