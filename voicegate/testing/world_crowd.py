"""The callers of one host of a `World`, as a process that is told what to do by lines of JSON on its stdin.

A request has an ``id``, which its answer has, too, what to ``do``, and the arguments; requests overlap. Times
in answers are `time.perf_counter`'s, which all processes of a machine share.

- ``call``: ``count`` callers more, each on ``max_paths`` paths. Each tries the ``urls``, from the first on,
  until a server takes the call.
- ``hang_up``: the callers with these ``ids``, or all.
- ``anew``: forget silences so far.
- ``read``: what there is to say of each caller.
- ``fetch``: the status and the text of what ``method`` gets at ``url``.

Layer: shell (Trio).
"""

import datetime
import json
import os
import sys
from itertools import count
from time import perf_counter
from typing import Any, Final

import httpx2
import trio

from voicegate.dtls import Certificate
from voicegate.testing.crowd import Caller, Crowd
from voicegate.testing.line_stream import LineStream

__all__ = ["CrowdMember", "main"]

_AT_ONCE: Final = 4
"""Calls that are set up at the same time."""

_PACKET_MS: Final = 60
"""Audio in a packet. With 20, two cores that have a whole world to themselves carry some hundred calls: each
packet passes a caller, the backbone twice, a relay and a transceiver, and that both ways."""

_TICK: Final = 0.010
"""Seconds between looks at all sockets, for the same reason."""


class CrowdMember:
    """The callers, and the tasks that obey."""

    def __init__(self) -> None:
        now = datetime.datetime.now(datetime.UTC)
        certificate = Certificate.generate(not_before=now - datetime.timedelta(days=1))
        self._crowd = Crowd("", certificate=certificate, random=os.urandom, packet_ms=_PACKET_MS, tick=_TICK)
        self._numbers = count(1)
        self._names: dict[Caller, int] = {}
        self._limiter = trio.CapacityLimiter(_AT_ONCE)

    async def run(self, lines: LineStream) -> None:
        """Obey until stdin ends, then hang up."""
        async with httpx2.AsyncClient(trust_env=False) as http, trio.open_nursery() as nursery:
            nursery.start_soon(self._crowd.run)
            while (line := await lines.receive()) is not None:
                nursery.start_soon(self._answer, lines, http, json.loads(line))
            nursery.cancel_scope.cancel()
        for caller in self._crowd.callers:
            caller.hang_up(trio.current_time())

    async def _answer(self, lines: LineStream, http: httpx2.AsyncClient, request: dict[str, Any]) -> None:
        match request:
            case {"do": "call", "count": wanted, "urls": urls, "max_paths": max_paths}:
                self._crowd.max_paths = max_paths
                answer = await self._call(http, wanted, urls)
            case {"do": "hang_up", "ids": ids}:
                answer = self._hang_up(ids)
            case {"do": "anew"}:
                self._crowd.listen_anew()
                answer = {}
            case {"do": "fetch", "method": method, "url": url}:
                answer = await _fetch(http, method, url)
            case _:
                answer = {"callers": [self._describe(each) for each in self._crowd.callers]}
        await lines.send(json.dumps({"id": request["id"], **answer}))

    async def _call(self, http: httpx2.AsyncClient, wanted: int, urls: list[str]) -> dict[str, Any]:
        """Make calls; a caller who is refused everywhere does without one."""
        refusals: list[str] = []
        made: list[int] = []

        async def call() -> None:
            async with self._limiter:
                for url in urls:
                    try:
                        caller = await self._crowd.dial(http, url)
                    except (AssertionError, httpx2.HTTPError) as error:
                        refusals.append(f"{url}: {type(error).__name__} {error}")
                        continue
                    if caller.connected.is_set():
                        self._names[caller] = next(self._numbers)
                        made.append(self._names[caller])
                        return
                    refusals.append(f"{url}: {caller.core.state.value} {caller.core.failure}")
                    self._crowd.hang_up(caller)

        async with trio.open_nursery() as nursery:
            for _ in range(wanted):
                nursery.start_soon(call)
        return {"made": made, "refusals": refusals}

    def _hang_up(self, ids: list[int] | None) -> dict[str, Any]:
        for caller in list(self._crowd.callers):
            if caller in self._names and (ids is None or self._names[caller] in ids):
                self._crowd.hang_up(caller)
                del self._names[caller]
        return {}

    def _describe(self, caller: Caller) -> dict[str, Any]:
        now, offset = trio.current_time(), perf_counter() - trio.current_time()
        going_on = now - caller.last_heard if caller.last_heard is not None else 0.0
        return {
            "id": self._names.get(caller),
            "call_id": caller.call_id,
            "entry": caller.entry[0],
            "is_lost": caller.is_lost,
            "silence": max(caller.longest_silence, going_on),
            "resumed_at": None if caller.resumed_at is None else caller.resumed_at + offset,
            "silent_for": going_on,
            "packets": caller.packets_heard,
            "round_trips": dict(
                zip((host for host, _ in caller.servers), caller.core.paths.round_trips, strict=False)
            ),
        }


async def _fetch(http: httpx2.AsyncClient, method: str, url: str) -> dict[str, Any]:
    try:
        response = await http.request(method, url, timeout=10.0)
    except httpx2.HTTPError as error:
        return {"status": 0, "text": f"{type(error).__name__} {error}"}
    return {"status": response.status_code, "text": response.text}


def main() -> None:
    """Run on stdin and stdout."""

    async def converse() -> None:
        stdin, stdout = (trio.lowlevel.FdStream(os.dup(number)) for number in (0, 1))
        await CrowdMember().run(LineStream(trio.StapledStream(stdout, stdin)))

    # Whatever else is printed must not look like an answer.
    sys.stdout = sys.stderr
    trio.run(converse)


if __name__ == "__main__":
    main()
