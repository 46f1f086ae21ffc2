"""The one loop that feeds all calls of a transceiver: a batch of datagrams in, a batch of datagrams out.

No task wakes per packet: this loop reads the hop socket and calls the cores directly, and one schedule holds
the deadlines of all calls. A call's own task wakes when its agent has something to hear.
"""

import heapq
from collections import Counter
from itertools import count
from math import inf
from typing import Final

import trio

from voicegate.datagram import DatagramPort
from voicegate.errors import WireError
from voicegate.ice import Message
from voicegate.transceiver.task import ActiveCall
from voicegate.wire import PacketKind, Path, Transmit, classify, hop

__all__ = ["Engine"]

_BATCHES_PER_TURN: Final = 8
"""Batches handled before other tasks get their turn, even when more datagrams wait."""


class Engine:
    """Routes datagrams of one hop socket to calls, and time to all of them."""

    def __init__(self, port: DatagramPort) -> None:
        self._port = port
        self._by_ufrag: dict[str, ActiveCall] = {}
        self._by_path: dict[Path, ActiveCall] = {}
        self._by_session: dict[bytes, ActiveCall] = {}
        self._schedule: list[tuple[float, int, ActiveCall]] = []
        self._tiebreak = count()
        self._timer = trio.CancelScope()
        self._transmits: list[Transmit] = []
        self.drops: Counter[str] = Counter()
        """Hop datagrams that reached no call, by reason."""

    def add(self, call: ActiveCall, *, ufrag: str, session_id: bytes) -> None:
        """Let datagrams and time reach a call."""
        self._by_ufrag[ufrag] = call
        self._by_session[session_id] = call
        self.settle(call, trio.current_time())

    def remove(self, call: ActiveCall, *, ufrag: str, session_id: bytes) -> None:
        """Forget a call whole, after sending the last that it has to say."""
        self.settle(call, trio.current_time())
        self._send()
        del self._by_ufrag[ufrag], self._by_session[session_id]
        while call.paths:
            self.close_path(call.paths.pop(), call)
        # An ended call keeps no place in the schedule, however far away its deadline was.
        self._schedule = [entry for entry in self._schedule if entry[2] is not call]
        heapq.heapify(self._schedule)

    @property
    def footprint(self) -> dict[str, int]:
        """How many entries each table holds; all zero when no call is left."""
        return {
            "ufrags": len(self._by_ufrag),
            "paths": len(self._by_path),
            "sessions": len(self._by_session),
            "deadlines": len(self._schedule),
        }

    async def run(self) -> None:
        """Feed the calls until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive)
            nursery.start_soon(self._keep_time)

    async def _receive(self) -> None:
        while True:
            await self._port.wait_readable()
            for _ in range(_BATCHES_PER_TURN):
                batch = self._port.receive_batch()
                if not batch:
                    break
                now = trio.current_time()
                touched = {
                    call: None for data, source in batch if (call := self._dispatch(data, source, now))
                }
                for call in touched:
                    self.settle(call, now)
                self._send()
            await trio.lowlevel.checkpoint()

    async def _keep_time(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._schedule[0][0] if self._schedule else inf) as self._timer:
                await trio.sleep_forever()
            now = trio.current_time()
            while self._schedule and self._schedule[0][0] <= now:
                deadline, _, call = heapq.heappop(self._schedule)
                # An entry that its call no longer knows was overtaken by an earlier one.
                if deadline == call.deadline:
                    call.deadline = None
                    call.handle_timeout(now=now)
                    self.settle(call, now)
            self._send()

    def _dispatch(self, data: bytes, source: tuple[str, int], now: float) -> ActiveCall | None:
        """Hand one hop datagram to the call it belongs to, and return that call."""
        try:
            datagram = hop.decode(data)
        except WireError:
            self.drops["malformed_hop"] += 1
            return None
        if datagram.type == hop.HopType.CHECK_REFUSED:
            call = self._by_session.get(datagram.payload)
            if call is not None:
                call.core.handle_refused_check()
            return call
        if datagram.type == hop.HopType.PING:
            pong = hop.encode(
                hop.HopType.PONG, host=datagram.host, port=datagram.port, payload=datagram.payload
            )
            self._port.send_batch([(pong, source)])
            return None
        if datagram.type != hop.HopType.DATA:
            self.drops["hop_type"] += 1
            return None
        path = Path(source, datagram.host, datagram.port, datagram.is_stream)
        call = self._find(datagram.payload, path)
        if call is None:
            self.drops["no_session"] += 1
            self._send_gone(path)
            return None
        call.handle_datagram(datagram.payload, path=path, now=now)
        return call

    def _find(self, data: bytes, path: Path) -> ActiveCall | None:
        if classify(data) is not PacketKind.STUN:
            return self._by_path.get(path)
        # A check names its call, which may be another than its source address had before.
        try:
            username = Message.decode(data).username
        except WireError:
            return None
        call = self._by_ufrag.get(username.partition(":")[0]) if username else None
        if call is not None and path in call.paths:
            # Whoever checks is there: a path that another call took over meanwhile comes back.
            self._by_path[path] = call
        return call

    def settle(self, call: ActiveCall, now: float) -> None:
        """After a call was touched: drain it, and bring table and schedule up to date."""
        call.drain(now=now)
        deadline = call.core.poll_timeout()
        if deadline is not None and (call.deadline is None or deadline < call.deadline):
            call.deadline = deadline
            heapq.heappush(self._schedule, (deadline, next(self._tiebreak), call))
            if deadline < self._timer.deadline:
                self._timer.deadline = deadline

    def touch(self, call: ActiveCall) -> None:
        """Send at once what a command of the agent's has brought about."""
        self.settle(call, trio.current_time())
        self._send()

    def send(self, transmit: Transmit) -> None:
        """Send a datagram with the present batch."""
        self._transmits.append(transmit)

    def open_path(self, path: Path, call: ActiveCall) -> None:
        """Lead datagrams from a path to a call from now on."""
        self._by_path[path] = call

    def close_path(self, path: Path, call: ActiveCall) -> None:
        """Lead them there no longer, and let the relay forget the flow; another call's path is left alone."""
        if self._by_path.get(path) is call:
            del self._by_path[path]
            self._send_gone(path)

    def _send_gone(self, path: Path) -> None:
        gone = hop.encode(hop.HopType.FLOW_GONE, host=path.host, port=path.port, is_stream=path.is_stream)
        self._port.send_batch([(gone, path.relay)])

    def _send(self) -> None:
        """Send all that the calls had to say, as one batch."""
        self._port.send_batch(
            (
                hop.encode(
                    hop.HopType.DATA, host=path.host, port=path.port, payload=data, is_stream=path.is_stream
                ),
                path.relay,
            )
            for data, path in self._transmits
        )
        self._transmits.clear()
