import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.world.stage import Stage, open_stage


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The world, once for all scenarios; the figures go to the file that WORLD_REPORT names."""
    folder = tmp_path_factory.mktemp("world")
    report = Path(os.environ.get("WORLD_REPORT", folder / "report.json"))
    with open_stage(folder, report) as stage:
        yield stage
