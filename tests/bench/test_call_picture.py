from pathlib import Path

import attrs
import pytest
from matplotlib.image import imread

from tests.bench.call_measurement import make_call_measurement, make_step
from voicegate.bench.call_figure import CallConditions, Step
from voicegate.bench.call_picture import draw_calls
from voicegate.bench.callee import Series
from voicegate.errors import UsageError

pytestmark = pytest.mark.slow


def test_a_picture_is_drawn_in_all_colours(tmp_path: Path) -> None:
    path = tmp_path / "chart.png"
    draw_calls(make_call_measurement(), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = (imread(path)[:, :, :3] * 255).round().astype(int).reshape(-1, 3)
    for colour in ("0b7285", "66b2c0", "e8590c"):
        assert (pixels == list(bytes.fromhex(colour))).all(axis=1).sum() > 500


def test_where_nothing_came_there_is_still_a_picture(tmp_path: Path) -> None:
    measurement = make_call_measurement(CallConditions(series=(Series.ECHO,)))
    nothing = make_step(4, kept=0, p99=float("nan"), max=float("nan"))
    figures = attrs.evolve(measurement.figures[0], steps=[nothing, Step(calls=5, failure="full")], below=None)
    path = tmp_path / "chart.png"
    draw_calls(attrs.evolve(measurement, figures=[figures]), path)
    assert path.exists()


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        draw_calls(make_call_measurement(), tmp_path / "nowhere" / "chart.png")
