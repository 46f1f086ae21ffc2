"""Data channels of real browsers, through a line that loses, reorders and duplicates."""

import json
from pathlib import Path
from typing import Any, get_args

import pytest
import trio

from tests.interop.process import open_server
from voicegate.bench.detour import redirect, server_address, without_candidates
from voicegate.bench.line import Line, open_line
from voicegate.bench.place import open_place
from voicegate.bench.server import Server
from voicegate.testing.browser import Kind, open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

MIB = 1 << 20
SCRIPT = Path(__file__).with_name("transfer.js").read_text()
FAULTS = {"round_trip": 0.002, "jitter": 0.002, "loss": 0.05, "duplication": 0.05}
"""Short delays, since with such losses a transfer takes as many of them as it takes."""


async def transfer(
    kind: Kind, *, total: int, longest: int, options: dict[str, Any], arguments: list[str] | None = None
) -> tuple[dict[str, Any], Line]:
    """Say random messages until there were ``total`` bytes; tells what came back, and how the line was."""
    messages = json.dumps({"total": total, "longest": longest, "seed": 1})
    async with (
        open_place(kind) as place,
        open_server("tests.interop.transfer", place) as port,
        open_browser(kind, arguments=arguments or [], namespace=place.namespace) as browser,
    ):
        page = await browser.open_page(f"http://127.0.0.1:{port}/")
        offer = await page.evaluate(f"await ({SCRIPT}).offer({json.dumps(options)})")
        server = Server("voicegate", place, port)
        answer = await server.answer(without_candidates(str(offer)), channel_id=options.get("id"))
        async with open_line(server_address(answer), place, seed=3, **FAULTS) as line:
            redirected = json.dumps(redirect(answer, line.address))
            outcome: dict[str, Any] = await page.evaluate(f"await transfer.run({redirected}, {messages})")
    return outcome, line


def is_bad(line: Line) -> bool:
    """Whether the line has lost, reordered and duplicated."""
    passed = [passage.entered_at for passage in line.passages if passage.left_at is not None]
    return len(passed) < len(line.passages) and passed != sorted(passed) and len(set(passed)) < len(passed)


@pytest.mark.parametrize("kind", get_args(Kind))
async def test_16_mib_come_through_a_bad_line_and_back(kind: Kind) -> None:
    with trio.fail_after(500):
        outcome, line = await transfer(kind, total=16 * MIB, longest=200_000, options={})
    assert outcome["fault"] is None
    assert outcome["bytes"] >= 16 * MIB
    assert is_bad(line)


@pytest.mark.parametrize("arguments", [[], ["--enable-features=WebRtcSctpSnap"]], ids=["stock", "SNAP"])
async def test_an_agreed_channel_comes_through_a_bad_line(arguments: list[str]) -> None:
    options = {"negotiated": True, "id": 5}
    with trio.fail_after(500):
        outcome, line = await transfer(
            "chromium", total=MIB, longest=20_000, options=options, arguments=arguments
        )
    assert outcome["fault"] is None
    assert outcome["bytes"] >= MIB
    assert is_bad(line)


async def test_messages_come_through_a_bad_line_in_any_order() -> None:
    with trio.fail_after(500):
        outcome, line = await transfer("chromium", total=MIB, longest=20_000, options={"ordered": False})
    assert outcome["fault"] is None
    assert outcome["bytes"] >= MIB
    assert is_bad(line)
