"""Set-up time and the delay of an echo, in real Chromium on loopback: voicegate beside aiortc, in turn.

Both servers take offers from the same page, of another origin than either, and send the voice back through
their codec. "mouth to ear" is the lag between what the microphone gave and what the page played, so it holds
the browser's own buffers too.
"""

import json
import statistics
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

import voicegate
from voicegate.agents import echo
from voicegate.observability import configure_logging
from voicegate.testing.browser import Page, open_browser
from voicegate.testing.sound import Sound, correlate, speech_like
from voicegate.transceiver.event import Phase

__all__ = ["main"]

SECONDS = 3
ROWS = ("answer", "ice", "dtls", "first_packet", "mouth_to_ear", "jitter_buffer")
DATA_PHASES = {Phase.DATA_READY, Phase.FIRST_MESSAGE_IN}
"""These calls have no data channel."""
SERVER_ROWS = tuple(f"server_{phase.value}" for phase in Phase if phase not in DATA_PHASES)
SCRIPT = (Path(__file__).parent / "first_call.js").read_text()


@asynccontextmanager
async def run_aiortc() -> AsyncIterator[str]:
    process = await trio.lowlevel.open_process([sys.executable, "-m", "bench.aiortc_echo"], stdout=-1)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.receive_some())}/"
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def one_call(page: Page, url: str) -> dict[str, float]:
    result = await page.evaluate(f"await ({SCRIPT})({json.dumps(url)}, {SECONDS})")
    both = Sound.from_base64(result["recorded"], rate=48000).samples.reshape(2, -1)
    said, heard = Sound(both[0]), Sound(both[1])
    # A stretch may lie in a pause, or be stretched by the jitter buffer: the best one tells the lag.
    starts = [0.25 * n for n in range(1, 8)]
    match, start = max((correlate(said.cut(start, start + 0.5), heard), start) for start in starts)
    if match.peak < 0.5:
        raise AssertionError(f"the echo of {url} was not recognised: {match}")
    return {
        **{phase: float(ms) for phase, ms in result["phases"].items()},
        "mouth_to_ear": (match.lag - start) * 1000,
        "jitter_buffer": float(result["buffered"]),
    }


async def measure(runs: int) -> dict[str, list[dict[str, float]]]:
    results: dict[str, list[dict[str, float]]] = {"voicegate": [], "aiortc": []}
    with tempfile.TemporaryDirectory() as folder:
        microphone = Path(folder, "voice.wav")
        speech_like(SECONDS + 4).write_wav(microphone)
        config = voicegate.Config(http="127.0.0.1:0", udp="127.0.0.1:0")
        async with trio.open_nursery() as nursery, run_aiortc() as reference:
            server: voicegate.Server = await nursery.start(partial(voicegate.serve, echo, config))
            urls = {"voicegate": f"{server.url}v1/realtime/calls", "aiortc": reference}
            with Progress(console=Console(stderr=True)) as progress:
                bar = progress.add_task("calls", total=2 * runs + 2)
                async with open_browser("chromium", microphone=microphone) as browser:
                    page = await browser.open_page(reference.replace("127.0.0.1", "localhost"))
                    for run in range(runs + 1):
                        for name, url in urls.items():
                            result = await one_call(page, url)
                            if name == "voicegate":
                                phases = server.transceiver.describe_all()[-1]["phases"]
                                result |= {f"server_{phase}": ms for phase, ms in phases.items()}
                            if run:  # the first of each warms up
                                results[name].append(result)
                            progress.advance(bar)
            nursery.cancel_scope.cancel()
    return results


def main(runs: int) -> dict[str, object]:
    configure_logging(level="warning")
    results = trio.run(measure, runs)
    medians = {
        name: {row: statistics.median(call[row] for call in calls) for row in ROWS}
        for name, calls in results.items()
    }
    table = Table(title=f"Chromium on loopback, median of {runs} calls, ms")
    for column in ("", "voicegate", "aiortc", "ratio"):
        table.add_column(column, justify="left" if not column else "right")
    for row in ROWS:
        ours, theirs = medians["voicegate"][row], medians["aiortc"][row]
        table.add_row(row.replace("_", " "), f"{ours:.1f}", f"{theirs:.1f}", f"{ours / theirs:.2f}")
    Console().print(table)
    for row in SERVER_ROWS:
        median = statistics.median(call[row] for call in results["voicegate"])
        Console().print(f"{row.replace('_', ' ')}: {median:.1f} ms after the offer came")
    return {"medians": medians, "calls": results}
