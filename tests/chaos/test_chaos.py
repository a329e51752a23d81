"""A minute of chaos; `make chaos` has the long one."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT

PATIENCE = 400.0  # for a busy machine; it takes about a minute


@pytest.mark.timeout(PATIENCE + 20)
def test_a_minute_of_crashes_and_outages_breaks_no_promise() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.chaos", "--minutes", "0.5", "--size", "40"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stdout
