from pathlib import Path

import pytest
from matplotlib.image import imread

from tests.bench.measurement import make_measurement
from voicegate.bench import picture
from voicegate.errors import UsageError

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("loss", [0.0, 0.1])
def test_a_picture_is_drawn_in_both_servers_colours(tmp_path: Path, loss: float) -> None:
    path = tmp_path / "chart.png"
    picture.draw(make_measurement(loss=loss), path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = (imread(path)[:, :, :3] * 255).round().astype(int).reshape(-1, 3)
    assert len(pixels) > 500_000
    for colour in ("0b7285", "e8590c"):
        assert (pixels == list(bytes.fromhex(colour))).all(axis=1).sum() > 500


def test_a_picture_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        picture.draw(make_measurement(), tmp_path / "missing" / "chart.png")


def test_without_matplotlib_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "find_spec", lambda _name: None)
    with pytest.raises(UsageError, match=r"pip install 'voicegate-server\[bench\]'"):
        picture.require_matplotlib()
