import re
from math import inf, nan
from pathlib import Path

import pytest

from voicegate.capacity import Basis, Figures
from voicegate.directory import FLOW_ROW_SECONDS
from voicegate.directory.ledger import LEASE_SECONDS, MEMBER_LIMIT
from voicegate.directory.redis import Pace
from voicegate.errors import UsageError
from voicegate.relay.flows import ROW_RENEWAL
from voicegate.wire.hop import HEADER_LENGTH

MEASURED = (Path(__file__).parents[2] / "README.md").read_text().partition("\n## Measured\n")[2]


def test_each_figure_says_where_it_comes_from() -> None:
    figures = Figures(call_percent=0.15).listed()
    assert len({figure.name for figure in figures}) == len(figures)
    assert all(figure.unit and figure.source for figure in figures)
    assert [figure.name for figure in figures if not figure.is_default] == ["call_percent"]
    assert {figure.basis for figure in figures} == set(Basis)


@pytest.mark.parametrize("value", [0, -1, inf, nan])
def test_a_cost_is_positive(value: float) -> None:
    with pytest.raises(UsageError, match="call_kb"):
        Figures(call_kb=value)


def test_what_is_derived_from_the_program_is_what_the_program_has() -> None:
    figures = Figures()
    assert figures.hop_bytes == HEADER_LENGTH
    assert figures.flow_renewal == ROW_RENEWAL
    assert figures.flow_life == FLOW_ROW_SECONDS
    assert figures.announce_seconds == Pace().renewal == LEASE_SECONDS / 3
    assert figures.poll_seconds == Pace().poll
    assert figures.gather_seconds == Pace().poll / 20
    assert figures.member_limit == MEMBER_LIMIT
    assert figures.cluster_limit == 1 << 12


def test_what_the_readme_is_named_for_stands_there() -> None:
    for figure in Figures().listed():
        if figure.source.startswith("README, "):
            title = figure.source.removeprefix("README, ").partition(":")[0]
            # The part that begins with this title has the number.
            (part,) = re.findall(rf"\*\*{title}\.\*\*.*?(?=\n\*\*|\n## )", MEASURED, re.DOTALL)
            number = f"{figure.value:g}"
            assert re.search(rf"\b{re.escape(number)}", part) or figure.name in {
                "transceiver_busy",
                "set_up_ms",
            }, figure.name


def test_sums_of_what_the_readme_has_are_right() -> None:
    figures = Figures()
    assert figures.transceiver_busy == pytest.approx(400 * figures.call_percent / 100)
    assert figures.set_up_ms == pytest.approx(9.7 + 1000 / 1632, abs=0.05)
    both = 60_000 * (figures.relay_in_us + figures.relay_out_us) / 1e6
    assert figures.relay_busy == pytest.approx(both, abs=0.02)
    assert figures.packet_bytes == 80 + 12 + 8 + 16
