"""The agent's end: a WebSocket server that runs ``async def agent(call)`` for each call of its gateways."""

import hmac
import math
import ssl as ssl_module
from functools import partial
from typing import Final

import structlog
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from voicegate.agents.link.codec import AgentCodec, Fault
from voicegate.agents.link.socket_link import MAX_MESSAGE_BYTES, RECEIVE_BYTES, SocketLink
from voicegate.agents.process.hosting import CallHost
from voicegate.agents.process.message import CallOpened
from voicegate.call import AUDIO_IN_FRAMES, Agent
from voicegate.errors import WireError
from voicegate.link import VERSION, AgentHello, GatewayHello, Journal
from voicegate.link.hello import SUBPROTOCOL

__all__ = ["serve_agent"]

_HELLO_SECONDS: Final = 10.0
_LONGEST_HOLD: Final = 3600.0
_GOODBYE_SECONDS: Final = 1.0
_NORMAL_CLOSURE: Final = 1000
_POLICY_VIOLATION: Final = 1008

_log = structlog.get_logger(__name__)


async def serve_agent(
    agent: Agent,
    host: str,
    port: int,
    *,
    key: str | None = None,
    ssl: ssl_module.SSLContext | None = None,
    task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run an agent for the calls of all gateways that connect, for ever; ``started`` with the port.

    Args:
        agent: The same function that would run in the gateway itself.
        host: To listen on.
        port: To listen on; 0 for a free one.
        key: What gateways have to show; None: nothing, for a private network or for mTLS.
        ssl: To speak TLS; with ``verify_mode`` ``CERT_REQUIRED``, only to gateways with a certificate (mTLS).
        task_status: For ``nursery.start``.

    Errors: OSError when the port can't be had. Cancellation: cancels the agents.
    """
    async with trio.open_nursery() as nursery:
        websockets = await nursery.start(
            partial(
                serve_websocket,
                _Server(agent, nursery, key).handle,
                host,
                port,
                ssl,
                handler_nursery=nursery,
                max_message_size=MAX_MESSAGE_BYTES,
                receive_buffer_size=RECEIVE_BYTES,
                disconnect_timeout=_GOODBYE_SECONDS,
            )
        )
        task_status.started(websockets.port)


class _Server:
    """All sessions."""

    def __init__(self, agent: Agent, nursery: trio.Nursery, key: str | None) -> None:
        self._agent = agent
        self._nursery = nursery
        self._key = key
        self._sessions: dict[str, _Session] = {}

    async def handle(self, request: WebSocketRequest) -> None:
        """Have one socket, until it ends."""
        if not self._is_welcome(request):
            await request.reject(401, extra_headers=[(b"www-authenticate", b"Bearer")])
            return
        offered = SUBPROTOCOL in request.proposed_subprotocols
        socket = await request.accept(subprotocol=SUBPROTOCOL if offered else None)
        try:
            with trio.fail_after(_HELLO_SECONDS):
                hello = _read_hello(await socket.get_message())
            await self._run(socket, hello)
        except (WireError, trio.TooSlowError) as error:
            await socket.aclose(_POLICY_VIOLATION, str(error)[:120])
        except ConnectionClosed:
            return

    def _is_welcome(self, request: WebSocketRequest) -> bool:
        if self._key is None:
            return True
        shown = b"".join(value for name, value in request.headers if name.lower() == b"authorization")
        return hmac.compare_digest(shown, f"Bearer {self._key}".encode())

    async def _run(self, socket: WebSocketConnection, hello: GatewayHello) -> None:
        session = self._sessions.get(hello.session)
        if session is not None and not session.can_resume(hello.received):
            session.end()
            session = None
        if session is None:
            session = self._sessions[hello.session] = _Session(self._agent, hello)
            await self._nursery.start(self._keep, hello.session, session)
        await session.talk(socket, hello)

    async def _keep(self, name: str, session: "_Session", *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await session.run(task_status)
        finally:
            if self._sessions.get(name) is session:
                del self._sessions[name]


class _Session:
    """The calls of one session, in one socket after another."""

    def __init__(self, agent: Agent, hello: GatewayHello) -> None:
        self._agent = agent
        self._codec = AgentCodec(lone_call=1 if hello.shape == "call" else None)
        self._link = SocketLink(self._codec, audio_limit=AUDIO_IN_FRAMES)
        self._journal = self._link.journal = Journal()
        self._hold_seconds = min(hello.hold_ms / 1000, _LONGEST_HOLD)
        self._scope = trio.CancelScope()
        self._turn = trio.Lock()
        self._host: CallHost | None = None

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        """Keep the calls, for as long as there is a socket, and for a while without one."""
        async with trio.open_nursery() as nursery:
            self._host = CallHost(self._link, nursery)
            task_status.started()
            with self._scope:
                await trio.sleep_forever()
            self._link.fail("the session has ended")
            self._host.close()

    def end(self) -> None:
        """End all calls."""
        self._scope.cancel()

    def can_resume(self, received: int | None) -> bool:
        """Whether another socket can go on, with a gateway that has received so many messages."""
        has_all = self._link.journal is self._journal  # else what waited was too much
        return received is not None and has_all and self._journal.can_resume(received)

    async def talk(self, socket: WebSocketConnection, hello: GatewayHello) -> None:
        """Have a socket, until it ends or another takes its place.

        Errors: WireError when the session has ended.
        """
        self._link.fail("another socket took its place")
        async with self._turn:
            if self._scope.cancel_called:
                raise WireError("this session has ended")
            journal = self._journal
            is_new = hello.received is None
            again = [] if hello.received is None else journal.resume(hello.received)
            answer = AgentHello(
                version=VERSION,
                shape=hello.shape,
                formats=("pcm16",),
                resumes=True,
                received=None if is_new else journal.received,
            )
            self._scope.deadline = math.inf
            try:
                await socket.send_message(answer.encode())
                fault = await self._link.run(socket, self._handle, again=again)
            finally:
                self._scope.deadline = trio.current_time() + self._hold_seconds
            if fault is not None:
                _log.warning("gateway_link_broken", cause=fault)
                await socket.aclose(_POLICY_VIOLATION, fault[:120])
            elif socket.closed is not None and socket.closed.code == _NORMAL_CLOSURE:
                self.end()

    def _handle(self, number: int, message: object) -> None:
        if self._host is None:
            return
        if isinstance(message, Fault):
            _log.warning("gateway_complains", code=message.code, message=message.message, call=number)
        elif isinstance(message, CallOpened):
            self._host.open(number, message, self._agent)
        else:
            self._host.handle(number, message)  # A call that its agent has left has gone meanwhile.


def _read_hello(message: str | bytes) -> GatewayHello:
    if not isinstance(message, str):
        raise WireError("the first message is no hello")
    hello = GatewayHello.decode(message)
    if VERSION not in hello.versions:
        raise WireError(f"versions {hello.versions}, and we speak {VERSION}")
    return hello
