"""A worker's place: sockets and counters that outlive the worker who uses them.

The supervisor binds them and never lets go. So a worker that dies takes no port with it, the kernel's choice
of a socket for each client stays, what arrives meanwhile waits for the next worker, and nothing that was
counted is lost.
"""

import mmap
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import Final

import structlog

from voicegate.datagram import bind
from voicegate.errors import UsageError
from voicegate.relay.control import RelayConfig, WorkerConfig
from voicegate.relay.counter import Counters, RelayStatistics
from voicegate.relay.stream import bind_stream
from voicegate.wire.path import Address

__all__ = ["Slot", "open_slots"]

_BUFFER_SIZE: Final = 4 * 1024 * 1024
"""Bytes of kernel buffer for a UDP socket in each direction: 100 ms and more of small packets at full load,
the time for which a busy machine may keep a worker waiting."""

_BUFFER_OPTIONS: Final = (
    (33, socket.SO_RCVBUF, "net.core.rmem_max"),
    (32, socket.SO_SNDBUF, "net.core.wmem_max"),
)
"""SO_RCVBUFFORCE and SO_SNDBUFFORCE, which only the privileged may use, with what anybody may, up to a limit
of the system."""

_log = structlog.get_logger(__name__)


class Slot:
    """One worker's sockets and counters, which ``stack`` closes."""

    def __init__(
        self,
        stack: ExitStack,
        *,
        public: Sequence[socket.socket],
        hop: socket.socket,
        streams: Sequence[socket.socket],
    ) -> None:
        memory = os.memfd_create("voicegate-relay-counters")
        stack.callback(os.close, memory)
        os.ftruncate(memory, Counters.SIZE)
        self.counters = Counters(mmap.mmap(memory, Counters.SIZE))
        """Those of the present worker."""
        self.public = tuple(_address(sock) for sock in public)
        """Where clients send to."""
        self.streams = tuple(_address(sock) for sock in streams)
        """Where clients connect to."""
        self.hop = _address(hop)
        """Where transceivers send to."""
        self._memory = memory
        self._public = [sock.fileno() for sock in public]
        self._hop = hop.fileno()
        self._streams = [sock.fileno() for sock in streams]
        self._past = RelayStatistics.total([])

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a worker inherits."""
        return (*self._public, self._hop, *self._streams, self._memory)

    def worker_config(
        self, config: RelayConfig, *, transceivers: Mapping[int, Address], has_directory: bool
    ) -> WorkerConfig:
        """Return what to tell a worker that takes this place."""
        return WorkerConfig(
            secrets=config.secrets,
            public=self._public,
            hop=self._hop,
            streams=self._streams,
            tls=config.tls,
            counters=self._memory,
            flow_limit=config.flow_limit,
            hop_offload=config.hop_offload,
            transceivers=transceivers,
            has_directory=has_directory,
        )

    def statistics(self) -> RelayStatistics:
        """Return the figures of all workers that were ever here."""
        return RelayStatistics.total([self._past, self.counters.snapshot()])

    def vacate(self) -> None:
        """Keep the figures of a worker that is dead, and make room for the next one's."""
        self._past = RelayStatistics.total([self._past, self.counters.take()])


def open_slots(config: RelayConfig, stack: ExitStack) -> list[Slot]:
    """Bind the sockets of all workers; ``stack`` closes them.

    Errors: UsageError when an address can't be bound, or there are two public ones of one family.
    """
    families = [":" in host for host, _ in config.public]
    for (host, _), family in zip(config.public, families, strict=True):
        if families.count(family) > 1:
            raise UsageError(f"{host} is not the only public address of its family: run a relay for each")
    public = [_open_group(address, config.workers, stack, bind) for address in config.public]
    streams = [_open_group(address, config.workers, stack, bind_stream) for address in config.streams]
    host, port = config.hop
    hops = [
        stack.enter_context(closing(bind((host, port and port + number)))) for number in range(config.workers)
    ]
    _enlarge_buffers([*(sock for group in public for sock in group), *hops])
    return [
        Slot(
            stack,
            public=[group[number] for group in public],
            hop=hop,
            streams=[group[number] for group in streams],
        )
        for number, hop in enumerate(hops)
    ]


def _open_group(
    address: Address, size: int, stack: ExitStack, open_socket: Callable[..., socket.socket]
) -> list[socket.socket]:
    """Bind one address several times, to share what arrives there.

    The first is bound alone and shares only then: so it is refused where another relay shares already, with
    which it would split the traffic without a word.
    """
    first = stack.enter_context(closing(open_socket(address)))
    if size > 1:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound = _address(first)
    others = [stack.enter_context(closing(open_socket(bound, is_shared=True))) for _ in range(1, size)]
    return [first, *others]


def _enlarge_buffers(sockets: Iterable[socket.socket]) -> None:
    cut = {}
    for sock in sockets:
        for forced, usual, setting in _BUFFER_OPTIONS:
            try:
                sock.setsockopt(socket.SOL_SOCKET, forced, _BUFFER_SIZE)
            except OSError:
                sock.setsockopt(socket.SOL_SOCKET, usual, _BUFFER_SIZE)
            # Linux counts its own bookkeeping too, and reports twice what it was asked for.
            size = sock.getsockopt(socket.SOL_SOCKET, usual) // 2
            if size < _BUFFER_SIZE:
                cut[setting] = size
    if cut:
        remedy = " ".join(f"{setting}={_BUFFER_SIZE}" for setting in cut)
        _log.warning("socket_buffers_cut", size=min(cut.values()), remedy=f"sysctl -w {remedy}")


def _address(sock: socket.socket) -> Address:
    host, port = sock.getsockname()[:2]
    return host, port
