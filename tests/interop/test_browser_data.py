"""Data channels of real browsers, through a line that loses, reorders and duplicates."""

import json
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
import trio

from voicegate.bench.line import open_line
from voicegate.bench.place import Place, open_place
from voicegate.testing.browser import Kind, open_browser

pytestmark = [pytest.mark.interop, pytest.mark.slow]

MIB = 1 << 20
TRANSFER = Path(__file__).with_name("transfer.js").read_text()
UDP_PORT = 34781


async def run_server(place: Place, *, task_status: trio.TaskStatus[str]) -> None:
    """`voicegate serve` as an operator runs it; gives the address of the page."""
    listener = await place.listen()
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    command = [sys.executable, "-m", "voicegate", "serve", "--agent", "tests.interop.transfer:say_back"]
    command += ["--http", f"127.0.0.1:{port}", "--udp", f"{place.address}:{UDP_PORT}"]
    async with trio.open_nursery() as nursery:
        process = await nursery.start(trio.run_process, place.wrap(command))
        while True:
            assert process.returncode is None
            try:
                stream = await place.connect(port)
            except OSError:
                await trio.sleep(0.1)
            else:
                await stream.aclose()
                break
        task_status.started(f"http://127.0.0.1:{port}/")
        try:
            await trio.sleep_forever()
        finally:
            process.terminate()


async def transfer(kind: Kind, *, parameters: dict[str, Any], arguments: list[str]) -> dict[str, Any]:
    async with open_place(kind) as place, trio.open_nursery() as nursery:
        url = await nursery.start(run_server, place)
        async with open_line(
            (place.address, UDP_PORT),
            place,
            round_trip=0.01,
            jitter=0.005,
            loss=0.05,
            duplication=0.05,
            seed=3,
        ) as line:
            async with open_browser(kind, arguments=arguments, namespace=place.namespace) as browser:
                page = await browser.open_page(url)
                id_ = parameters["options"].get("id")
                calls = url + "v1/realtime/calls" + ("" if id_ is None else f"?dcid={id_}")
                address = f"{line.address[0]} {line.address[1]}"
                call = f"transfer({json.dumps(calls)}, {json.dumps(address)}, {json.dumps(parameters)})"
                outcome: dict[str, Any] = await page.evaluate(
                    f"await (async () => {{ {TRANSFER}\nreturn await {call}; }})()"
                )
        nursery.cancel_scope.cancel()
    return outcome


@pytest.mark.parametrize("kind", get_args(Kind))
async def test_16_mib_come_through_a_bad_line_and_back(kind: Kind) -> None:
    parameters = {"total": 16 * MIB, "longest": 200_000, "seed": 1, "options": {}}
    with trio.fail_after(500):
        outcome = await transfer(kind, parameters=parameters, arguments=[])
    assert outcome["fault"] is None
    assert outcome["bytes"] >= 16 * MIB


@pytest.mark.parametrize(
    "arguments",
    [[], ["--enable-features=WebRtcSctpSnap"]],
    ids=["stock", "SNAP"],
)
async def test_an_agreed_channel_comes_through_a_bad_line(arguments: list[str]) -> None:
    parameters = {"total": MIB, "longest": 20_000, "seed": 2, "options": {"negotiated": True, "id": 5}}
    with trio.fail_after(240):
        outcome = await transfer("chromium", parameters=parameters, arguments=arguments)
    assert outcome["fault"] is None
    assert outcome["bytes"] >= MIB
