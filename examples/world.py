"""Watch calls live on while their relay dies and Redis is away.

    python examples/world.py                    # as root, or where the kernel lets users have namespaces

Builds a world of three regions on this machine, with relays, transceivers and callers in network namespaces
of their own, 20, 80 and 150 ms from each other, and then breaks it, piece by piece. docs/world.md says more.
"""

import argparse
import signal
import sys
import tempfile
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import trio
from rich.console import Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from voicegate.errors import VoicegateError
from voicegate.testing.world import REGIONS, ROUND_TRIPS, CallerState, World, open_world

BARS = " ▁▂▃▄▅▆▇█"
LOUDEST = 3.0
"""Seconds of silence that fill a bar: what a dead relay may cost."""


class View:
    """What the terminal shows: who talks through what, each second's longest silence, and what was done."""

    def __init__(self) -> None:
        self.done: deque[str] = deque(maxlen=8)
        self.broken: set[str] = set()
        self.began_at = perf_counter()
        self.silences: dict[str, deque[float]] = {region: deque(maxlen=30) for region in REGIONS}
        self.callers: Sequence[CallerState] = ()
        self.entries: Counter[str] = Counter()

    def say(self, text: str) -> None:
        """Add a line to what was done."""
        self.done.append(f"{perf_counter() - self.began_at:5.0f} s  {text}")

    def take(self, world: World, callers: Sequence[CallerState]) -> None:
        """Show what the callers have heard since the last time."""
        self.callers = callers
        self.entries = Counter(world.name_of(each.entry) for each in callers if not each.is_lost)
        for region, silences in self.silences.items():
            silences.append(max((each.silence for each in callers if each.region == region), default=0.0))

    def __rich__(self) -> Group:
        map_ = Table("region", "relays, and the calls that enter by them", "silence", "at most, each second")
        for region, silences in self.silences.items():
            bars = "".join(BARS[min(int(8 * each / LOUDEST), 8)] for each in silences)
            latest = f"{1000 * silences[-1]:4.0f} ms" if silences else ""
            relays = Text("\n").join(self._relay(f"relay-{region}-{n}") for n in (1, 2))
            map_.add_row(region, relays, latest, Text(bars, "yellow", no_wrap=True))
        lost = sum(each.is_lost for each in self.callers)
        redis = Text("away", "bold red") if "redis" in self.broken else Text("there", "green")
        ways = ", ".join(f"{one} – {other} {1000 * way:.0f} ms" for (one, other), way in ROUND_TRIPS.items())
        footer = Text.assemble(
            f"{len(self.callers)} calls, ",
            (f"{lost} lost", "bold red" if lost else "green"),
            ", Redis is ",
            redis,
            f"; round trips: {ways}",
        )
        return Group(map_, footer, Panel("\n".join(self.done), title="what was done"))

    def _relay(self, name: str) -> Text:
        if name in self.broken:
            return Text(f"{name:16}dead", "bold red")
        count = self.entries[name]
        return Text(f"{name:16}{count:3} {'●' * min(count // 4, 12)}", "cyan", no_wrap=True)


async def watch(world: World, view: View) -> None:
    """Look once a second."""
    while True:
        view.take(world, await world.read())
        await world.listen_anew()
        await trio.sleep(1.0)


async def show(world: World, view: View, calls: int, outage: float) -> None:
    """Do it all."""
    view.say(f"{calls} callers call")
    await world.call_everywhere(calls)
    view.say("each enters by a relay of its own region, the fastest that its answer lists")
    await trio.sleep(6.0)

    relay = "relay-central-1"
    view.say(f"kill -9 {relay}: its callers have other relays, and change after 2.5 s of silence")
    view.broken.add(relay)
    await world.kill(relay)
    await trio.sleep(7.0)
    await world.restart(relay)
    view.broken.discard(relay)
    view.say(f"{relay} is back, for new calls")
    await world.call("central", 10)
    await trio.sleep(4.0)

    view.say(f"Redis hangs for {outage / 2:.0f} s: nobody asks it anything while packets pass")
    view.broken.add("redis")
    world.signal("redis", signal.SIGSTOP)
    await trio.sleep(outage / 2)
    made, _refusals = await world.call("west", 10)
    view.say(f"{made} of 10 new calls are accepted meanwhile; now it is killed, with all it knew")
    await world.kill("redis")
    await trio.sleep(outage / 2)
    await world.start("redis")
    view.broken.discard("redis")
    view.say("Redis is back, empty; everybody registers again")
    await trio.sleep(6.0)
    made, _refusals = await world.call("east", 10)
    view.say(f"{made} of 10 new calls are accepted. That is all: {sum(c.is_lost for c in view.callers)} lost")
    await trio.sleep(4.0)


async def main(calls: int, outage: float) -> None:
    """Build the world, break it, and end it."""
    view = View()
    with tempfile.TemporaryDirectory(prefix="voicegate-") as folder, Live(view, refresh_per_second=4):
        view.say("twelve machines and a Redis start")
        async with open_world(Path(folder)) as world, trio.open_nursery() as nursery:
            nursery.start_soon(watch, world, view)
            await show(world, view, calls, outage)
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=60, help="callers (60)")
    parser.add_argument("--outage", type=float, default=20.0, help="seconds without Redis (20)")
    arguments = parser.parse_args()
    try:
        trio.run(main, arguments.calls, arguments.outage)
    except* VoicegateError as failed:
        sys.exit("; ".join(str(each) for each in failed.exceptions))
    except* KeyboardInterrupt:
        sys.exit(130)
