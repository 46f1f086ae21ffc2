"""The one loop that feeds all calls of a transceiver: a run of datagrams in, a batch of datagrams out.

No task wakes per packet: this loop reads the hop socket and calls the cores directly, and one `SlotClock`
holds the frames and deadlines of all calls. A call's own task wakes when its agent has something to hear.

A packet's way:

1. `Engine._take_run`: the header's bytes name the route, which a check has opened; RTP goes straight to its
   call by `CallFeed.handle_rtp`, and is heard before the next packet is looked at.
2. Anything else takes the long way, `Engine._dispatch`, after which its call is drained and its deadline set
   anew, `Engine.settle`. So does a call whose deadline has come.
3. `Engine._turn`, once per slot: the calls whose frame is due say what to send, `CallFeed.next_packets`.
   It comes first: the loop looks at the clock before each run.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from math import inf
from typing import Final, NamedTuple

import trio

from voicegate.call import TurnAnswered
from voicegate.datagram import DatagramPort
from voicegate.errors import WireError
from voicegate.ice import Message
from voicegate.observability import Histogram
from voicegate.transceiver.alarm import Alarm
from voicegate.transceiver.clock import SLOT_SECONDS, Frames, SlotClock
from voicegate.transceiver.collector import Collector
from voicegate.transceiver.feed import CallFeed
from voicegate.transceiver.lateness import Lateness
from voicegate.transceiver.task import ActiveCall
from voicegate.wire import PacketKind, Path, Transmit, classify, hop
from voicegate.wire.path import Address

__all__ = ["Engine"]

_RUNS_PER_TURN: Final = 16
"""Runs handled before other tasks get their turn, even when more datagrams wait: some milliseconds."""

_LATE_SECONDS: Final = SLOT_SECONDS
"""Behind its time by so much, a turn first takes what arrived meanwhile."""

_CATCH_UP_SECONDS: Final = 0.1
"""What that may take, but never longer than it was late: other tasks wait for it, too."""

_ANSWER_BOUNDS_MS: Final = (50, 100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 10000)

_FRAMES_AT_ONCE: Final = 64
"""Frames made before they are sent: a full batch, so that the first of many does not wait for the last."""


class _Route(NamedTuple):
    """Whose datagrams from one client's address are."""

    feed: CallFeed
    path: Path


_RTP: Final = PacketKind.RTP
_NO_ROUTES: Final[dict[bytes, _Route]] = {}


class Engine:
    """Routes datagrams of one hop socket to calls, and time to all of them.

    Args:
        port: The hop socket.
        collector: Collects garbage between slots, if that is ours to do.
    """

    def __init__(self, port: DatagramPort, *, collector: Collector | None = None) -> None:
        self._port = port
        self._collector = collector
        self._by_ufrag: dict[str, ActiveCall] = {}
        self._by_session: dict[bytes, ActiveCall] = {}
        self._by_feed: dict[CallFeed, ActiveCall] = {}
        self._routes: dict[Address, dict[bytes, _Route]] = {}
        """By relay, and by what stands for the client in its headers."""
        self._clock = SlotClock[CallFeed]()
        self._alarm = Alarm()
        self._outgoing: defaultdict[Address, list[bytes]] = defaultdict(list)
        self.lateness: Final = Lateness()
        """Of all frames so far: from the beginning of their slot until they were the kernel's."""
        self.first_audio, self.first_packet = Histogram(_ANSWER_BOUNDS_MS), Histogram(_ANSWER_BOUNDS_MS)
        """How long users waited for answers, in ms; see `voicegate.call.TurnAnswered`."""
        self.drops: Counter[str] = Counter()
        """Hop datagrams that reached no call, by reason."""

    def add(self, call: ActiveCall, *, session_id: bytes) -> None:
        """Let datagrams and time reach a call."""
        self.rename(call)
        self._by_session[session_id] = self._by_feed[call.feed] = call
        self.settle(call, trio.current_time())

    def rename(self, call: ActiveCall) -> None:
        """Let checks find a call by the ufrags that it has now, after an ICE restart."""
        for ufrag in call.ufrags:
            del self._by_ufrag[ufrag]
        call.ufrags = call.core.ufrags
        self._by_ufrag |= dict.fromkeys(call.ufrags, call)

    def remove(self, call: ActiveCall, *, session_id: bytes) -> None:
        """Forget a call whole, after sending the last that it has to say."""
        self.settle(call, trio.current_time())
        self._send()
        del self._by_session[session_id]
        for ufrag in call.ufrags:
            del self._by_ufrag[ufrag]
        while call.paths:
            self.close_path(call.paths.pop(), call)
        self._clock.leave(call.feed)
        self._clock.wake_at(call.feed, None)
        del self._by_feed[call.feed]

    @property
    def footprint(self) -> dict[str, int]:
        """How many entries each table holds; all zero when no call is left."""
        frames, deadlines = self._clock.footprint
        return {
            "ufrags": len(self._by_ufrag),
            "paths": sum(map(len, self._routes.values())),
            "sessions": len(self._by_session),
            "feeds": len(self._by_feed),
            "frames": frames,
            "deadlines": deadlines,
        }

    async def run(self) -> None:
        """Feed the calls until cancelled."""
        with self._alarm:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                nursery.start_soon(self._keep_time)

    # Datagrams

    async def _receive(self) -> None:
        while True:
            await self._port.wait_readable()  # which lets other tasks run, even if there is something
            for _ in range(_RUNS_PER_TURN):
                if not self._take_next():
                    break
            self._turn(trio.current_time())

    def _take_next(self) -> bool:
        """Take the next run, behind the frames that are due; return whether there was one."""
        run = self._port.receive_run()
        if run is None:
            return False
        now = trio.current_time()
        if now >= self._alarm.deadline:
            self._send_due(now)
        self._take_run(*run, now)
        self._send()
        return True

    def _take_run(self, run: bytes, size: int, source: Address, now: float) -> None:
        """Hand each datagram of a run to its call; all are ``size`` long, the last may be shorter."""
        routes = self._routes.get(source, _NO_ROUTES)
        room = size - hop.HEADER_LENGTH
        for at in range(0, len(run) or 1, size):
            start = at + hop.HEADER_LENGTH
            if start > len(run):
                self.drops["malformed_hop"] += 1
                break
            magic, length, key = hop.short_header(run, at)
            data = run[start : start + length]
            route = routes.get(key)
            is_whole = len(data) == length <= room
            if route is not None and is_whole and magic == hop.DATA_MAGIC and classify(data) is _RTP:
                feed, path = route
                try:
                    is_due = feed.handle_rtp(data, path=path, now=now)
                except Exception as fault:
                    is_due = True
                    self._by_feed[feed].contain(fault)
                if feed.has_news:
                    self._by_feed[feed].follow()
                if is_due:
                    self.settle(self._by_feed[feed], now)
            else:
                self._dispatch(run[at : at + size], source, now)

    def _dispatch(self, data: bytes, source: Address, now: float) -> None:
        """Hand one hop datagram to the call it belongs to, the long way."""
        try:
            datagram = hop.decode(data)
        except WireError:
            self.drops["malformed_hop"] += 1
            return
        if datagram.type == hop.HopType.CHECK_REFUSED:
            call = self._by_session.get(datagram.payload)
            if call is not None:
                call.core.handle_refused_check()
        elif datagram.type == hop.HopType.PING:
            pong = hop.encode(
                hop.HopType.PONG, host=datagram.host, port=datagram.port, payload=datagram.payload
            )
            self._port.send_batch([(pong, source)])
        elif datagram.type != hop.HopType.DATA:
            self.drops["hop_type"] += 1
        else:
            path = Path(source, datagram.host, datagram.port, datagram.is_stream)
            call = self._find(datagram.payload, path)
            if call is None:
                self.drops["no_session"] += 1
                self._send_gone(path)
            else:
                call.handle_datagram(datagram.payload, path=path, now=now)
                self.settle(call, now)

    def _find(self, data: bytes, path: Path) -> ActiveCall | None:
        if classify(data) is not PacketKind.STUN:
            route = self._routes.get(path.relay, _NO_ROUTES).get(_key(path))
            return None if route is None else self._by_feed[route.feed]
        # A check names its call, which may be another than its source address had before.
        try:
            username = Message.decode(data).username
        except WireError:
            return None
        call = self._by_ufrag.get(username.partition(":")[0]) if username else None
        if call is not None and path in call.paths:
            # Whoever checks is there: a path that another call took over meanwhile comes back.
            self.open_path(path, call)
        return call

    # Time

    async def _keep_time(self) -> None:
        while True:
            await self._alarm.wait()
            self._turn(trio.current_time())
            if self._collector is not None:
                self._collector.collect(until=self._alarm.deadline, is_idle=not self._by_session)

    def _turn(self, now: float) -> None:
        """Send the frames of the slots that have begun, then let the calls act whose deadline has come."""
        if now < self._alarm.deadline:
            return
        self._send_due(now)
        late = now - self._alarm.deadline
        if late > _LATE_SECONDS:  # What arrived while nobody looked must not count as missing.
            until = now + min(late, _CATCH_UP_SECONDS)
            while now < until and self._take_next():
                now = trio.current_time()
        clock = self._clock
        while (feed := clock.poll_wake()) is not None:
            call = self._by_feed[feed]
            call.handle_timeout(now=now)
            self.settle(call, now)
        self._send()
        self._alarm.set(self._next_deadline())

    def _send_due(self, now: float) -> None:
        clock = self._clock
        clock.handle_timeout(now=now)
        while (frames := clock.poll_frames()) is not None:
            self._send_frames(frames, now)

    def _send_frames(self, frames: Frames[CallFeed], now: float) -> None:
        for first in range(0, len(frames.members), _FRAMES_AT_ONCE):
            senders: list[CallFeed] = []
            for feed in frames.members[first : first + _FRAMES_AT_ONCE]:
                packets: Sequence[bytes] = ()
                try:
                    packets = feed.next_packets(missed=frames.missed, now=now)
                except Exception as fault:
                    self._by_feed[feed].contain(fault)
                if feed.has_news:
                    self._by_feed[feed].follow()
                if packets:
                    senders.append(feed)
                    outgoing = self._outgoing[feed.relay]
                    for packet in packets:
                        outgoing.append(hop.encode_data(feed.key, packet))
            self._send()
            late = max(0.0, trio.current_time() - frames.deadline)
            bucket = Lateness.bucket(late)
            self.lateness.note(late, bucket, frames=len(senders))
            for feed in senders:
                feed.lateness.note(late, bucket)

    def _next_deadline(self) -> float:
        deadline = self._clock.poll_timeout()
        return inf if deadline is None else deadline

    # What calls want

    def settle(self, call: ActiveCall, now: float) -> None:
        """After a call was touched the long way: drain it, and bring the schedule up to date."""
        call.drain(now=now)
        feed = call.feed
        frame_seconds = call.core.frame_seconds
        if frame_seconds != feed.frame_seconds:
            self._clock.leave(feed)
            if frame_seconds is not None:
                self._clock.join(feed, frame_seconds=frame_seconds, now=now)
            feed.frame_seconds = frame_seconds
        feed.deadline = call.poll_timeout()
        self._clock.wake_at(feed, feed.deadline)
        deadline = self._next_deadline()
        if deadline < self._alarm.deadline:
            self._alarm.set(deadline)

    def touch(self, call: ActiveCall) -> None:
        """Send at once what a command of the agent's has brought about."""
        self.settle(call, trio.current_time())
        self._send()

    def note_answer(self, answer: TurnAnswered) -> None:
        """Take note of how long a user waited for an answer."""
        self.first_audio.observe(answer.first_audio_ms)
        self.first_packet.observe(answer.first_packet_ms)

    def send(self, transmit: Transmit) -> None:
        """Send a datagram with the present batch."""
        data, path = transmit
        self._outgoing[path.relay].append(hop.encode_data(_key(path), data))

    def open_path(self, path: Path, call: ActiveCall) -> None:
        """Lead datagrams from a path to a call from now on, if they don't go there already."""
        routes, key = self._routes.setdefault(path.relay, {}), _key(path)
        route = routes.get(key)
        if route is None or route.feed is not call.feed:  # Else it has the very path that ICE knows.
            routes[key] = _Route(call.feed, path)

    def close_path(self, path: Path, call: ActiveCall) -> None:
        """Lead them there no longer, and let the relay forget the flow; another call's path is left alone."""
        routes = self._routes.get(path.relay, {})
        route = routes.get(_key(path))
        if route is not None and route.feed is call.feed:
            del routes[_key(path)]
            if not routes:
                del self._routes[path.relay]
            self._send_gone(path)

    def _send_gone(self, path: Path) -> None:
        gone = hop.encode(hop.HopType.FLOW_GONE, host=path.host, port=path.port, is_stream=path.is_stream)
        self._port.send_batch([(gone, path.relay)])

    def _send(self) -> None:
        """Send all that the calls had to say, as one batch for each relay."""
        if self._outgoing:
            for relay, datagrams in self._outgoing.items():
                self._port.send_run(datagrams, relay)
            self._outgoing.clear()


def _key(path: Path) -> bytes:
    return hop.client_key(host=path.host, port=path.port, is_stream=path.is_stream)
