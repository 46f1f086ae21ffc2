"""A transceiver: takes offers, owns the calls that come of them, and remembers those that ended."""

import datetime
from base64 import b32encode
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, Final, Literal

import structlog
import trio

from voicegate.call import Agent
from voicegate.config import SetUp
from voicegate.datagram import DatagramPort
from voicegate.dtls import Certificate
from voicegate.errors import UsageError, VoicegateError, WireError
from voicegate.event_socket import EventSocket
from voicegate.ice import Credentials, Keyring, Route
from voicegate.observability import Histogram, Metrics
from voicegate.realtime import ClientSession
from voicegate.sctp import SctpAssociation, decode_init
from voicegate.sdp import Candidate, LocalParameters, Negotiated, SessionDescription, answer, offered_data
from voicegate.transceiver.call_id import call_id_of
from voicegate.transceiver.collector import Collector
from voicegate.transceiver.conversation import ApiName, open_session
from voicegate.transceiver.core import CallCore
from voicegate.transceiver.engine import Engine
from voicegate.transceiver.event import Phase
from voicegate.transceiver.lateness import BOUNDS_MS
from voicegate.transceiver.task import ActiveCall, CallTerms
from voicegate.wire.json_value import JSON

__all__ = [
    "TooManyPendingError",
    "Transceiver",
    "TransceiverDrainingError",
    "TransceiverFullError",
]

_log = structlog.get_logger()

ENDED_CALLS_KEPT: Final = 256
"""Ended calls that can still be asked about; people look when a call just failed."""

_PHASE_BOUNDS_MS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000)
_AUDIO_BOUNDS_MS: Final = (5, 10, 20, 40, 60, 80, 120, 160, 240)
_NTP_EPOCH: Final = datetime.datetime(1900, 1, 1, tzinfo=datetime.UTC)


class TransceiverFullError(VoicegateError):
    """No slot is left for another call."""


class TransceiverDrainingError(VoicegateError):
    """It takes no new calls."""


class TooManyPendingError(VoicegateError):
    """One client has more calls answered and not connected than it may."""


class Transceiver:
    """All calls of one worker process, behind one hop socket.

    Resources: `run` owns everything; when it is cancelled, every call says goodbye and is gone.
    """

    def __init__(
        self,
        port: DatagramPort,
        *,
        agent: Agent,
        keyring: Keyring,
        transceiver_id: int,
        max_calls: int,
        max_call_seconds: float,
        max_pending_calls: int,
        max_pending_calls_per_client: int,
        set_up: SetUp,
        random: Callable[[int], bytes],
        clock: Callable[[], datetime.datetime],
        uplink: Literal["fast", "accurate"] = "fast",
        collector: Collector | None = None,
        find_agent: Callable[[str], Agent] | None = None,
    ) -> None:
        self._agent = agent
        self._find_agent = find_agent or _find_no_agent
        self._keyring = keyring
        self.id: Final = transceiver_id
        self._max_calls = max_calls
        self._max_call_seconds = max_call_seconds
        self._max_pending = max_pending_calls
        self._max_pending_per_client = max_pending_calls_per_client
        self._set_up = set_up
        self._random = random
        self._clock = clock
        # One certificate for the life of the process: clients check it by the fingerprint in their answer.
        self._certificate = Certificate.generate(not_before=clock() - datetime.timedelta(days=1))
        self._calls: dict[str, ActiveCall] = {}
        # Calls whose client is not verified yet, and where the offer of each came from.
        self._pending: dict[ActiveCall, str] = {}
        self._ended: deque[dict[str, Any]] = deque(maxlen=ENDED_CALLS_KEPT)
        self._ended_causes: Counter[str] = Counter()
        self._phases = {phase.value: Histogram(_PHASE_BOUNDS_MS) for phase in Phase}
        self._totals: Counter[str] = Counter()
        self._drops: Counter[str] = Counter()
        self._nursery: trio.Nursery | None = None
        self._drains_until: float | None = None
        self.is_retired = False
        """Whether no calls are taken any more, because somebody else has our id."""
        self.changed = trio.Event()
        """Set, and replaced, when a drain begins or ends, and when the last call is over."""
        self._uplink = uplink
        self._collector = collector
        self.has_api = True
        """Whether clients may speak an API on a channel of theirs; otherwise agents have all channels."""
        self.engine: Final = Engine(port, collector=collector)
        self.candidates: Sequence[Candidate] = ()
        """The relays' addresses, as answers list them."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve calls until cancelled.

        Cancellation: ends every call; their goodbyes are sent before this returns.
        """
        # Calls and engine are cancelled at once; the goodbyes go out all the same, since remove() sends them.
        try:
            async with trio.open_nursery() as self._nursery:
                self._nursery.start_soon(self.engine.run)
                task_status.started()
        finally:
            self._nursery = None

    @property
    def call_count(self) -> int:
        """Calls that are set up or going on."""
        return len(self._calls)

    # Going away

    @property
    def is_draining(self) -> bool:
        """Whether no new calls are taken."""
        return self.is_retired or self._drains_until is not None

    @property
    def drain_seconds_left(self) -> float | None:
        """How long the calls that are left may go on; None when nobody set them a time."""
        if self._drains_until is None:
            return None
        return max(0.0, self._drains_until - trio.current_time())

    def begin_drain(self, *, seconds: float) -> None:
        """Take no new calls, tell those that go on, and end in ``seconds`` what is left of them.

        Said again, it counts anew.
        """
        self._drains_until = trio.current_time() + seconds
        for call in list(self._calls.values()):
            call.leave(seconds=seconds)
        self.note_change()

    def end_drain(self) -> None:
        """Take calls again, and let those that are left go on; nobody is told."""
        self._drains_until = None
        for call in self._calls.values():
            call.stay()
        self.note_change()

    def retire(self) -> None:
        """Take no new calls ever again, and let all others go on: somebody else has our id."""
        self.is_retired = True
        self.note_change()

    def note_change(self) -> None:
        """Wake whoever waits for `changed`."""
        self.changed.set()
        self.changed = trio.Event()

    async def wait_empty(self) -> None:
        """Wait until there are no calls.

        Cancellation: a checkpoint always.
        """
        await trio.lowlevel.checkpoint()
        while self._calls:
            await self.changed.wait()

    # Calls

    def create_call(
        self,
        offer: str,
        *,
        metadata: Mapping[str, Any],
        client: str = "",
        data_channel_id: int | None = None,
        agent: Agent | None = None,
        api: ApiName = "realtime",
        session: Mapping[str, JSON] | None = None,
        model: str = "",
        max_seconds: float | None = None,
        labels: Mapping[str, str] | None = None,
        candidates: Sequence[Candidate] | None = None,
    ) -> tuple[str, str]:
        """Answer an SDP offer; the call waits for its client from here on. Returns its id and the SDP answer.

        Args:
            offer: The SDP text.
            metadata: For the agent.
            client: The IP address that the offer came from.
            data_channel_id: Of a channel which both sides take as open.
            agent: Who answers, if not the transceiver's own.
            api: What the client speaks on its channel ``oai-events``, or on the one agreed on; with ``none``
                the agent has all channels.
            session: How that session begins.
            model: What the session calls the agent.
            max_seconds: How long the call may last, if not as long as any.
            labels: What it is known by in logs and descriptions.
            candidates: The relays' addresses that the answer lists, if not those of the transceiver.

        Errors: WireError for text that is not SDP, OfferError for an offer that cannot be answered, both
        naming the line; EventRefused, a WireError, for a session that cannot be; TransceiverFullError,
        TooManyPendingError, TransceiverDrainingError.
        """
        nursery = self._admit(client)
        now = trio.current_time()
        route = Route(transceiver_id=self.id, session_id=self._random(8), generation=0)
        call_id = call_id_of(route)
        begin = partial(self._open_session, call_id, api, model, session, self._expiry(max_seconds))
        if session:
            begin(now)  # What is wrong with it the client is to read in the answer to its offer.
        local = self._keyring.mint(route)
        description = SessionDescription.decode(offer)
        association = self._agree_association(description, now)
        ours = self._local_parameters(local, association, candidates, needs_data=data_channel_id is not None)
        negotiated = answer(description, ours)
        core = self._open_core(local, negotiated, ours, association, data_channel_id, now)
        terms = CallTerms(
            agent=agent or self._agent,
            metadata=metadata,
            has_events=self.has_api and api != "none",
            open_session=begin,
            find_agent=self._find_agent,
            max_seconds=self._limit(max_seconds),
            labels=labels or {},
        )
        call = ActiveCall(call_id, core, terms, exchange=self.engine, now=now)
        self._start(call, nursery, client=client, session_id=route.session_id)
        return call.id, negotiated.answer.encode()

    def find(self, call_id: str) -> ActiveCall | None:
        """Return a call that is going on."""
        return self._calls.get(call_id)

    async def attach(self, call_id: str, socket: EventSocket) -> bool:
        """Let a socket speak a call's session, too, until either ends; False when there is no such call.

        Cancellation: closes the socket.
        """
        call = self.find(call_id)
        if call is None:
            return False
        await call.conversation.attach(socket)
        return True

    def restart_ice(self, call: ActiveCall, remote: Credentials) -> Credentials:
        """Begin an ICE restart (RFC 8445 §9) with the client's new credentials; returns our own new ones.

        The old ones serve until media takes a path of the new: nothing of what is heard is lost.
        """
        local, _ = call.core.credentials
        opened = self._keyring.open(local.ufrag)
        if opened is None:
            raise UsageError("a call whose credentials are not of this keyring")
        route = opened.route
        # A byte has few numbers, so in the end they come again; those in use may not.
        while (renewed := self._keyring.mint(route)).ufrag in call.core.ufrags:
            route = route._replace(generation=(route.generation + 1) & 0xFF)
        call.core.restart_ice(local=renewed, remote=remote, now=trio.current_time())
        self.engine.rename(call)
        return renewed

    def describe(self, call_id: str) -> dict[str, Any] | None:
        """Return what is known of a call, also for a while after it ended."""
        call = self._calls.get(call_id)
        if call is not None:
            return call.describe()
        return next((ended for ended in self._ended if ended["id"] == call_id), None)

    def describe_all(self) -> list[dict[str, Any]]:
        """Return what is known of all calls: those that ended lately, then those that go on, newest last."""
        return [*self._ended, *(call.describe() for call in self._calls.values())]

    def report(self, metrics: Metrics) -> None:
        """Add this transceiver's families to a scrape."""
        totals, drops = self._totals.copy(), self._drops.copy()
        for call in self._calls.values():
            _count(call, totals, drops)
        metrics.gauge("calls", "Calls that are set up or going on", len(self._calls))
        metrics.gauge("calls_max", "Slots for calls", self._max_calls)
        metrics.gauge("draining", "Whether no new calls are taken", self.is_draining)
        metrics.gauge("retired", "Whether somebody else has taken the id of the transceiver", self.is_retired)
        connected = sum(call.is_connected for call in self._calls.values())
        metrics.gauge("calls_connected", "Calls whose media can flow", connected)
        metrics.counter("calls_ended", "Calls that ended, by cause", self._ended_causes, label="cause")
        metrics.counter("transceiver_events", "Packets and frames of all calls", totals, label="kind")
        metrics.counter(
            "transceiver_drops", "Datagrams dropped within calls, by reason", drops, label="reason"
        )
        metrics.counter(
            "hop_drops", "Hop datagrams that reached no call, by reason", self.engine.drops, label="reason"
        )
        audio = {name: Histogram(_AUDIO_BOUNDS_MS) for name in ("jitter", "depth", "target")}
        for call in self._calls.values():
            figures = call.core.media.statistics()
            for name, ms in zip(audio, (figures.jitter_ms, figures.depth_ms, figures.target_ms), strict=True):
                audio[name].observe(ms)
        metrics.histogram(
            "calls_audio_ms", "Calls by how the client's audio comes in just now", audio, label="figure"
        )
        late = self.engine.lateness
        metrics.histogram(
            "frame_lateness_ms",
            "Milliseconds from the beginning of a frame's slot until it left",
            Histogram(BOUNDS_MS, counts=late.counts, total=late.total * 1000),
        )
        answers = {"first_audio": self.engine.first_audio, "first_packet": self.engine.first_packet}
        metrics.histogram(
            "turn_answer_ms",
            "Milliseconds from the end of the user's speech to the agent's first audio, and to its departure",
            answers,
            label="until",
        )
        if self._collector is not None:
            metrics.histogram(
                "gc_pause_ms",
                "Milliseconds that the process stood still for garbage collection",
                self._collector.pauses,
                label="kind",
            )
        metrics.histogram("setup_ms", "Milliseconds from offer to milestone", self._phases, label="phase")

    # Internals

    def _open_core(
        self,
        local: Credentials,
        negotiated: Negotiated,
        ours: LocalParameters,
        association: SctpAssociation | None,
        data_channel_id: int | None,
        now: float,
    ) -> CallCore:
        return CallCore(
            local=local,
            negotiated=negotiated,
            certificate=self._certificate,
            ssrc=ours.ssrc,
            cname=ours.cname,
            random=self._random,
            now=now,
            ntp_at_zero=(self._clock() - _NTP_EPOCH).total_seconds() - now,
            association=association,
            data_channel_id=data_channel_id,
            set_up=self._set_up,
            uplink=self._uplink,
        )

    def _limit(self, max_seconds: float | None) -> float:
        return min(self._max_call_seconds, inf if max_seconds is None else max_seconds)

    def _expiry(self, max_seconds: float | None) -> int:
        """Return when a session that begins now is over, in seconds since 1970."""
        return int(self._clock().timestamp() + self._limit(max_seconds))

    def _open_session(
        self,
        call_id: str,
        api: ApiName,
        model: str,
        session: Mapping[str, JSON] | None,
        expires_at: int,
        now: float,
    ) -> ClientSession:
        return open_session(
            api,
            call_id=call_id,
            model=model,
            session=session,
            random=self._random,
            expires_at=expires_at,
            now=now,
            unix_now=self._clock().timestamp(),
        )

    def _admit(self, client: str) -> trio.Nursery:
        """See that there is room for one more call, and for one more half-open handshake."""
        if self.is_draining:
            raise TransceiverDrainingError("no new calls are taken: the server goes away")
        if self._nursery is None or len(self._calls) >= self._max_calls:
            raise TransceiverFullError(f"all {self._max_calls} slots are taken")
        for call in [call for call in self._pending if call.is_connected]:
            del self._pending[call]
        if len(self._pending) >= self._max_pending:
            raise TransceiverFullError(
                f"{self._max_pending} calls are being set up, which is the most at once"
            )
        if sum(other == client for other in self._pending.values()) >= self._max_pending_per_client:
            raise TooManyPendingError(
                f"{self._max_pending_per_client} calls from this address wait for their first packets"
            )
        return self._nursery

    def _agree_association(self, offer: SessionDescription, now: float) -> SctpAssociation | None:
        """Make the SCTP association whose INIT chunk the answer carries, if the offer's is sound (SNAP)."""
        offered = offered_data(offer) if self._set_up.snap else None
        if offered is None or offered.sctp_init is None:
            return None
        try:
            decode_init(offered.sctp_init)
        except WireError:
            self._drops["sctp_init"] += 1
            return None
        return SctpAssociation(random=self._random, now=now, remote_port=offered.sctp_port)

    def _local_parameters(
        self,
        local: Credentials,
        association: SctpAssociation | None,
        candidates: Sequence[Candidate] | None,
        *,
        needs_data: bool,
    ) -> LocalParameters:
        """Say what our side of a call is."""
        return LocalParameters(
            ice_ufrag=local.ufrag,
            ice_pwd=local.pwd,
            fingerprint=str(self._certificate.fingerprint),
            candidates=tuple(self.candidates if candidates is None else candidates),
            session_id=int.from_bytes(self._random(8), "big") >> 1,
            ssrc=int.from_bytes(self._random(4), "big"),
            cname=b32encode(self._random(10)).decode().lower(),
            stream_id="voicegate",
            track_id="voicegate-audio",
            sctp_init=association.init.encode() if association else None,
            has_sped=self._set_up.sped != "off",
            prefers_red=self._uplink == "accurate",
            needs_data=needs_data,
        )

    def _start(self, call: ActiveCall, nursery: trio.Nursery, *, client: str, session_id: bytes) -> None:
        self._calls[call.id], self._pending[call] = call, client
        self.engine.add(call, session_id=session_id)
        nursery.start_soon(self._run_call, call, session_id)

    async def _run_call(self, call: ActiveCall, session_id: bytes) -> None:
        try:
            await call.run()
        finally:
            self.engine.remove(call, session_id=session_id)
            del self._calls[call.id]
            self._pending.pop(call, None)
            self._remember(call)
            if not self._calls:
                self.note_change()

    def _remember(self, call: ActiveCall) -> None:
        self._ended.append(call.describe())
        self._ended_causes[call.cause.value if call.cause else "unknown"] += 1
        _count(call, self._totals, self._drops)
        for phase in Phase:
            if (ms := call.phase_ms(phase)) is not None:
                self._phases[phase.value].observe(ms)


def _find_no_agent(name: str) -> Agent:
    raise UsageError(f"no agent {name!r} is configured")


def _count(call: ActiveCall, totals: Counter[str], drops: Counter[str]) -> None:
    statistics = call.core.statistics()
    totals.update({key: value for key, value in statistics._asdict().items() if key != "drops"})
    totals["audio_in_dropped"] += call.audio_in_dropped
    drops.update(statistics.drops)
