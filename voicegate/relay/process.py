"""A relay worker: the process between the public sockets and the hop.

It is driven by its supervisor through `voicegate.relay.control` and ends with it, at the end of stdin. It
keeps nothing that matters: clients recover from its death by their next connectivity check, so SIGTERM may
end it at once.
"""

import os
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import lru_cache
from typing import Final, TypeAlias

import trio

from voicegate.datagram import BATCH_LIMIT, DatagramPort
from voicegate.errors import UsageError, VoicegateError
from voicegate.ice.credentials import Keyring
from voicegate.relay.control import ControlChannel, RelayConfig, RelayStatistics, decode_transceivers
from voicegate.relay.router import MAX_CLIENT_DATAGRAM, Router, ToClient
from voicegate.wire.hop import HEADER_LENGTH
from voicegate.wire.path import Address, address_bytes, address_text

__all__ = ["RelayWorker", "main", "run_worker"]

_BATCHES_PER_TURN: Final = 4
"""Batches taken from one socket before the others get their turn."""

_EXPIRY_INTERVAL: Final = 1.0
"""Seconds between looks for silent flows."""

_Batch: TypeAlias = list[tuple[bytes, Address]]

# Text to 16 bytes and back costs microseconds, and one address sends thousands of packets.
_host_bytes: Final = lru_cache(maxsize=16_384)(address_bytes)
_host_text: Final = lru_cache(maxsize=16_384)(address_text)


def main() -> None:
    """Run a worker on this process's stdin and stdout."""
    # Ctrl-C goes to the whole foreground group; what it means for the relay is for the supervisor to say.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def converse() -> None:
        stdin, stdout = (trio.lowlevel.FdStream(os.dup(fd)) for fd in (0, 1))
        async with ControlChannel(trio.StapledStream(stdout, stdin)) as control:
            await run_worker(control)

    trio.run(converse)


async def run_worker(control: ControlChannel) -> None:
    """Be a relay until the supervisor is gone, or until the configuration proves impossible.

    Cancellation: leaves nothing. Resources: all sockets are closed on return.
    """
    first = await control.receive()
    if first is None:
        return
    with ExitStack() as ports:
        try:
            worker = RelayWorker(RelayConfig.from_json(first), ports, now=trio.current_time())
        except VoicegateError as error:
            await control.send({"error": str(error)})
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker.run)
            await worker.obey(control)
            nursery.cancel_scope.cancel()


class RelayWorker:
    """The sockets of a relay, and the tasks that move datagrams between them.

    Args:
        config: The supervisor's first line.
        ports: Where to leave what must be closed.
        now: Seconds, monotonic.

    Errors: UsageError when an address can't be bound, or there are two public ones of one family.
    """

    def __init__(self, config: RelayConfig, ports: ExitStack, *, now: float) -> None:
        self._router = Router(keyring=Keyring(config.secrets), now=now)
        limit = HEADER_LENGTH + MAX_CLIENT_DATAGRAM
        self._hop = ports.enter_context(closing(DatagramPort(config.hop, datagram_limit=limit)))
        self._public: dict[socket.AddressFamily, DatagramPort] = {}
        self._clients_without_socket = 0
        for address in config.public:
            port = DatagramPort(address, datagram_limit=MAX_CLIENT_DATAGRAM, is_shared=True)
            ports.enter_context(closing(port))
            if port.family in self._public:
                raise UsageError(
                    f"{address[0]} is a second public address of its family: run a relay for each"
                )
            self._public[port.family] = port

    async def run(self) -> None:
        """Move datagrams, for ever."""
        async with trio.open_nursery() as nursery:
            for port in self._public.values():
                nursery.start_soon(_drain, port, self._handle_clients)
            nursery.start_soon(_drain, self._hop, self._handle_hop)
            nursery.start_soon(self._expire_flows)

    async def obey(self, control: ControlChannel) -> None:
        """Do what the supervisor says, until it is gone."""
        public = [port.address for port in self._public.values()]
        try:
            await control.send({"ready": {"public": public, "hop": self._hop.address}})
            while (message := await control.receive()) is not None:
                if "transceivers" in message:
                    self._router.set_transceivers(decode_transceivers(message["transceivers"]))
                if "statistics" in message:
                    answer = self._statistics().to_json()
                    await control.send({"statistics": message["statistics"], "relay": answer})
        except trio.BrokenResourceError:
            pass

    def _handle_clients(self, batch: _Batch, now: float) -> None:
        handle = self._router.handle_client_datagram
        out = [handle(data, _host_bytes(host), port, now=now) for data, (host, port) in batch]
        self._hop.send_batch([transmit for transmit in out if transmit is not None])

    def _handle_hop(self, batch: _Batch, now: float) -> None:
        to_clients: dict[socket.AddressFamily, _Batch] = {family: [] for family in self._public}
        to_transceivers: _Batch = []
        for data, source in batch:
            out = self._router.handle_hop_datagram(data, source, now=now)
            if isinstance(out, ToClient):
                host = _host_text(out.host)
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                if out.is_stream or family not in to_clients:
                    self._clients_without_socket += 1
                else:
                    to_clients[family].append((out.data, (host, out.port)))
            elif out is not None:
                to_transceivers.append(out)
        for family, transmits in to_clients.items():
            self._public[family].send_batch(transmits)
        self._hop.send_batch(to_transceivers)

    async def _expire_flows(self) -> None:
        while True:
            await trio.sleep(_EXPIRY_INTERVAL)
            self._router.handle_timeout(trio.current_time())

    def _statistics(self) -> RelayStatistics:
        errors = {f"hop {what}": count for what, count in self._hop.errors.items()}
        for family, port in self._public.items():
            name = "public IPv6" if family == socket.AF_INET6 else "public IPv4"
            errors |= {f"{name} {what}": count for what, count in port.errors.items()}
        return RelayStatistics(
            router=self._router.statistics(),
            socket_errors=errors,
            clients_without_socket=self._clients_without_socket,
        )


async def _drain(port: DatagramPort, handle: Callable[[_Batch, float], None]) -> None:
    while True:
        await port.wait_readable()
        for _ in range(_BATCHES_PER_TURN):
            batch = port.receive_batch()
            handle(batch, trio.current_time())
            if len(batch) < BATCH_LIMIT:
                break
