from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.bench.relay_measurement import make_relay_measurement
from voicegate.bench.relay_picture import draw_relays
from voicegate.bench.traffic import Direction, RelayConditions
from voicegate.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("directions", [tuple(Direction), (Direction.TO_CLIENTS,)])
def test_a_picture_is_drawn_in_all_colours(tmp_path: Path, directions: tuple[Direction, ...]) -> None:
    path = tmp_path / "chart.png"
    draw_relays(make_relay_measurement(RelayConditions(directions=directions)), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = (imread(path)[:, :, :3] * 255).round().astype(int).reshape(-1, 3)
    for colour in ("0b7285", "66b2c0", "e8590c", "868e96"):
        assert (pixels == list(bytes.fromhex(colour))).all(axis=1).sum() > 500


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        draw_relays(make_relay_measurement(), tmp_path / "nowhere" / "chart.png")
