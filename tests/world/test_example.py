import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

EXAMPLE = Path(__file__).parents[2] / "examples" / "world.py"


@pytest.mark.slow
async def test_the_show_ends_well_and_by_itself() -> None:
    command = [sys.executable, str(EXAMPLE), "--calls", "12", "--outage", "4"]
    with trio.fail_after(240):
        done = await trio.run_process(
            command,
            capture_stdout=True,
            stderr=subprocess.STDOUT,
            check=False,
            process_group=0,
            env={**os.environ, "COLUMNS": "160"},
        )
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert "That is all: 0 lost" in said
