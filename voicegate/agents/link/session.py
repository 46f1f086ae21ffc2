"""A session with an agent's server: its calls, and one socket after another to it."""

import itertools
import ssl
from collections.abc import Sequence
from secrets import token_hex
from typing import Final

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from voicegate.agents.link.codec import Fault, GatewayCodec
from voicegate.agents.link.dial import UnreachableError, open_socket
from voicegate.agents.link.option import LinkOptions
from voicegate.agents.link.socket_link import SocketLink
from voicegate.agents.process.session import AgentProcessError, Session
from voicegate.agents.process.sessions import PHASES, Sessions
from voicegate.call import Call
from voicegate.errors import UsageError, WireError
from voicegate.link import FORMATS, VERSION, AgentHello, AudioFormat, FrameKind, GatewayHello, Journal
from voicegate.link.format import choose_format
from voicegate.link.hello import Shape

__all__ = ["AgentLinkError", "LinkSession"]

_HELLO_SECONDS: Final = 10.0
"""For a server to answer ours."""

_GOODBYE_SECONDS: Final = 1.0
"""For what is left to be sent when a session is over."""

_FIRST_BACK_OFF: Final = 0.1
"""Seconds before a server is called again; doubles each time."""

_LAST_BACK_OFF: Final = 5.0
"""Seconds at which doubling ends."""

_STEADY_AFTER: Final = 30.0
"""Seconds of a socket's life that make its break an accident again, and not the next of a series."""

_MAX_FAULTS: Final = 200
"""Of an agent, in one socket: whoever makes so many will not learn."""

_POLICY_VIOLATION: Final = 1008
_REASON_LENGTH: Final = 120
"""Characters of the reason for which a socket is closed (RFC 6455 §5.5: 125 bytes with the code)."""

_FRAMES_A_SECOND: Final = 50

_log = structlog.get_logger(__name__)


class AgentLinkError(AgentProcessError):
    """An agent behind a link failed, or was away for too long."""


class _LinkedSession(Session):
    """A call whose agent may ask for what can't be, and is told so."""

    def refuse(self, fault: str) -> None:
        self.post(Fault("refused", fault))


class LinkSession:
    """Some calls, or one, that an agent's server answers.

    Args:
        url: Of the server.
        options: How to reach it.
        shape: Of its sockets.
        ssl_context: For ``wss``.
    """

    def __init__(
        self, url: str, options: LinkOptions, *, shape: Shape, ssl_context: ssl.SSLContext | None = None
    ) -> None:
        self.wants_own_sockets = False
        """Whether the agent has asked for a socket per call."""
        self._url = url
        self._options = options
        self._shape = shape
        self._ssl_context = ssl_context
        self._id = token_hex(16)
        self._formats: Sequence[str] = ()
        self._numbers = itertools.count(1)
        self._last_number = 0
        self._faults = 0
        is_alone = shape == "call"
        self._codec = GatewayCodec(lone_call=1 if is_alone else None)
        # Of a lone call, reports go with its sound, which comes as often.
        self._sessions = Sessions(phases=1 if is_alone else PHASES)
        self._link = SocketLink(
            self._codec,
            self._sessions.report,
            audio_limit=max(round(options.hold_seconds * _FRAMES_A_SECOND), 1),
            call_count=self._sessions.__len__,
        )
        self._connected = trio.Event()
        self._is_connected = False
        self._broken = trio.Event()
        self._finished = trio.CancelScope()

    async def answer(self, call: Call) -> None:
        """Have a call answered.

        Errors: AgentLinkError when the agent fails, or is away for too long.
        """
        with trio.move_on_after(self._options.patience_seconds):
            while not self._is_connected:
                await self._connected.wait()
        if self.wants_own_sockets:
            return
        if not self._is_connected:
            raise AgentLinkError(f"no agent at {self._url} for {self._options.patience_seconds:g} s")
        form = _agree(call, choose_format(self._formats, codec=call.codec, sample_rate=call.sample_rate))
        number = self._last_number = next(self._numbers)
        session = _LinkedSession(
            number,
            call,
            self._link,
            wants_packets=form.kind is FrameKind.PACKET,
            error=AgentLinkError,
        )
        self._codec.open(number, session, form)
        try:
            await self._sessions.run(session)
        finally:
            self._codec.close(number)

    async def run(self) -> None:
        """Have a socket to the server, and another when it breaks, until `finish`.

        Cancellation: what waits is not sent.
        """
        with self._finished:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_patience)
                await self._reconnect()

    async def finish(self) -> None:
        """Send what is left, and close the socket for good."""
        with trio.move_on_after(_GOODBYE_SECONDS):
            if self._is_connected:
                await self._link.flush()
        self._finished.cancel()

    # Sockets

    async def _reconnect(self) -> None:
        back_off = 0.0
        while True:
            began_at = trio.current_time()
            fault = await self._connect()
            if self.wants_own_sockets:
                return
            if trio.current_time() - began_at > _STEADY_AFTER:
                back_off = 0.0
            _log.warning(
                "agent_link_broken",
                agent=self._url,
                cause=fault,
                calls=len(self._sessions),
                again_in=back_off,
            )
            await trio.sleep(back_off)
            back_off = min(max(2 * back_off, _FIRST_BACK_OFF), _LAST_BACK_OFF)

    async def _connect(self) -> str:
        """Have one socket; return why it ended."""
        try:
            async with open_socket(self._url, key=self._options.key, ssl_context=self._ssl_context) as socket:
                return await self._talk(socket)
        except UnreachableError as error:
            return str(error)

    async def _talk(self, socket: WebSocketConnection) -> str:
        try:
            with trio.fail_after(_HELLO_SECONDS):
                again = await self._greet(socket)
        except trio.TooSlowError:
            return "it said no hello"
        except ConnectionClosed:
            return f"it closed the socket instead of a hello: {socket.closed}"
        except WireError as error:
            await socket.aclose(_POLICY_VIOLATION, str(error)[:_REASON_LENGTH])
            return f"its hello: {error}"
        self._set_connected()
        if self.wants_own_sockets:
            return ""
        self._faults = 0
        try:
            fault = await self._link.run(socket, self._handle, again=again)
        finally:
            self._is_connected = False
            self._connected = trio.Event()
            self._broken.set()
        if fault is not None:
            await socket.aclose(_POLICY_VIOLATION, fault[:_REASON_LENGTH])
        return fault or f"it closed the socket: {socket.closed}"

    def _set_connected(self) -> None:
        self._is_connected = True
        self._connected.set()

    async def _greet(self, socket: WebSocketConnection) -> Sequence[bytes | str]:
        """Exchange hellos; return what has to be sent again.

        Errors: WireError.
        """
        journal = self._link.journal
        hello = GatewayHello(
            versions=(VERSION,),
            shape=self._shape,
            session=self._id,
            received=None if journal is None else journal.received,
            formats=(*FORMATS, "pcm16"),
            hold_ms=round(self._options.patience_seconds * 1000),
        )
        await socket.send_message(hello.encode())
        answer = await socket.get_message()
        if not isinstance(answer, str):
            raise WireError("the first message is no hello")
        agent = AgentHello.decode(answer)
        if agent.version != VERSION:
            raise WireError(f"version {agent.version}, and we speak {VERSION}")
        if agent.shape not in (None, self._shape):
            if agent.shape == "calls":
                raise WireError("it wants one socket for all calls, and was configured to have one for each")
            self.wants_own_sockets = True
            return ()
        self._formats = agent.formats
        received = agent.received if agent.resumes else None
        if journal is not None and received is not None and journal.can_resume(received):
            return journal.resume(received)
        self._link.reset()
        self._link.journal = Journal() if agent.resumes else None
        self._sessions.restart()
        return ()

    async def _end_patience(self) -> None:
        """End the calls that have had no agent for too long."""
        while True:
            await self._broken.wait()
            self._broken = trio.Event()
            with trio.move_on_after(self._options.patience_seconds):
                await self._connected.wait()
            if not self._is_connected:
                self._sessions.close(f"no agent for {self._options.patience_seconds:g} s")
                self._link.reset()

    # What the agent says

    def _handle(self, number: int, message: object) -> None:
        if isinstance(message, Fault):
            self._complain(number, message)
        elif self._sessions.handle(number, message):
            self._link.stir()
        elif not 0 < number <= self._last_number:
            self._complain(number, Fault("unknown_call", f"there is and was no call {number}"))
        # Else it is over meanwhile.

    def _complain(self, number: int, fault: Fault) -> None:
        self._faults += 1
        if self._faults == 1:
            _log.warning("agent_link_fault", agent=self._url, code=fault.code, message=fault.message)
        self._link.post(number, fault)
        if self._faults > _MAX_FAULTS:
            self._link.fail(f"it has made {self._faults} mistakes; the last: {fault.message}")


def _agree(call: Call, form: AudioFormat) -> AudioFormat:
    """Have a call's PCM as the format wants it; return the format it has."""
    if form.sample_rate == call.sample_rate:
        return form
    try:
        call.use_rate(form.sample_rate)
    except UsageError:  # An agent before this one has spoken.
        return FORMATS[f"pcm16/{call.sample_rate}"]
    return form
