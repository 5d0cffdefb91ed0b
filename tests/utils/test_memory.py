"""Memory that is kept: the same block again costs no page."""

import subprocess
import sys

import pytest

_FAULTS = """
import resource
import numpy as np
from lgm.utils.memory import keep_freed_memory

if {kept}:
    keep_freed_memory()
held = [np.ones(2 << 20, np.uint8) for _ in range(4)]
del held
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    blocks = [np.ones(2 << 20, np.uint8) for _ in range(4)]
    del blocks
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is done")
def test_what_was_freed_is_not_cleared_again() -> None:
    kept, given_back = (
        int(subprocess.run([sys.executable, "-c", _FAULTS.format(kept=kept)], capture_output=True, check=True).stdout)
        for kept in (True, False)
    )
    assert kept < 100 < given_back  # 80 blocks of 512 pages
