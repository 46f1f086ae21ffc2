import attrs
import pytest
from rich.console import Console

from tests.bench.relay_measurement import make_relay_measurement, make_run
from voicegate.bench.relay_table import render_relays
from voicegate.bench.traffic import SATURATION, Direction, RelayConditions, RelayMeasurement


def show(measurement: RelayMeasurement, width: int = 80) -> str:
    console = Console(width=width, color_system=None)
    with console.capture() as capture:
        for part in render_relays(measurement):
            console.print(part)
    return capture.get()


@pytest.mark.parametrize("width", [80, 140])
def test_all_of_it_fits_eighty_columns_uncut(width: int) -> None:
    text = show(make_relay_measurement(), width)
    assert "…" not in text
    assert text.count("voicegate plain") == 6 + 8
    assert max(map(len, text.splitlines())) <= width


def test_costs_ratios_and_latency_stand_below_each_other() -> None:
    text = show(make_relay_measurement())
    assert "Clients to transceiver, 10 000 flows" in text
    assert "4.00" in text
    assert "0.80 0.40" in text
    assert "0.09 0.49" in text
    assert "250 000" in text
    assert "~200 000" in text
    assert "1 000 000 flows take 120 bytes each" in text
    assert "≥ 1.5" in text


def test_what_was_not_measured_is_left_out() -> None:
    conditions = RelayConditions(
        flows=(10,), rates=(SATURATION,), directions=(Direction.TO_CLIENTS,), references=(), has_search=False
    )
    text = show(attrs.evolve(make_relay_measurement(conditions), memory=None))
    assert "lossless" not in text
    assert "bytes each" not in text
    assert "wanted" not in text
    assert "Clients to transceiver" not in text


def test_packets_that_went_astray_show() -> None:
    measurement = make_relay_measurement()
    first = attrs.evolve(measurement.points[0], runs=[make_run(misrouted=2, damaged=1)])
    text = show(attrs.evolve(measurement, points=[first, *measurement.points[1:]]))
    assert "2 misrouted" in text
    assert "1 damaged" in text
