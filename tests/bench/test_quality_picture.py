from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.bench.quality_measurement import make_quality_measurement
from voicegate.bench.quality_figure import QualityConditions, choose_lines
from voicegate.bench.quality_picture import draw_quality
from voicegate.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("has_recovery", [True, False])
def test_a_picture_is_drawn_in_all_colours(tmp_path: Path, has_recovery: bool) -> None:
    path = tmp_path / "chart.png"
    draw_quality(make_quality_measurement(QualityConditions(has_recovery=has_recovery)), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = (imread(path)[:, :, :3] * 255).round().astype(int).reshape(-1, 3)
    for colour in ("0b7285", "66b2c0", "e8590c"):
        assert (pixels == list(bytes.fromhex(colour))).all(axis=1).sum() > 500


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    measurement = make_quality_measurement(QualityConditions(lines=choose_lines(["clean"])))
    with pytest.raises(UsageError, match="No such file"):
        draw_quality(measurement, tmp_path / "nowhere" / "chart.png")
