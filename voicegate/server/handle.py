"""What whoever started a server has in hand."""

from typing import Final

import attrs
import trio

from voicegate.config import Address
from voicegate.errors import UsageError
from voicegate.relay import Relay
from voicegate.transceiver import Transceiver
from voicegate.worker import LocalCalls, Workers

__all__ = ["RelayServer", "Server"]

_GOODBYE_SECONDS: Final = 2.0
"""For calls to be over that were ended when a drain's time was up."""


@attrs.frozen(kw_only=True)
class Server:
    """What `serve` or `serve_transceiver` bound, and the parts that run behind it."""

    http: Address
    _calls: LocalCalls | Workers
    _relay: Relay | None = None

    @property
    def relay(self) -> Relay:
        """The relay of this machine.

        Errors: UsageError when it has none.
        """
        if self._relay is None:
            raise UsageError("a transceiver has no relay: those of the directory are in front of it")
        return self._relay

    @property
    def udp(self) -> Address:
        """The relay's first public address; ``relay.public`` has all."""
        return Address(*self.relay.public[0])

    @property
    def workers(self) -> Workers | None:
        """Those that have the calls; None when this process has them."""
        return self._calls if isinstance(self._calls, Workers) else None

    @property
    def transceiver(self) -> Transceiver:
        """What has the calls.

        Errors: UsageError when workers have them.
        """
        if isinstance(self._calls, Workers):
            raise UsageError("the calls are in other processes: see `Server.workers`")
        return self._calls.transceiver

    @property
    def url(self) -> str:
        """Where a browser finds the page."""
        return f"http://{_reachable(self.http)}/"

    async def drain(self, seconds: float) -> bool:
        """Take no new calls, and wait until none is left; after ``seconds`` those that are left are ended.

        Returns:
            Whether none is left, which only a stuck worker prevents.
        """
        if self._relay is not None:
            self._relay.begin_drain(seconds=seconds)
        await self._calls.begin_drain(seconds=seconds)
        with trio.move_on_after(seconds + _GOODBYE_SECONDS) as scope:
            await self._calls.wait_empty()
        return not scope.cancelled_caught

    async def calls_left(self) -> int:
        """Return how many calls there are."""
        return (await self._calls.drain_state()).calls

    def describe(self) -> str:
        """Say in a line what is where."""
        if self._relay is None:
            return f"signalling on {self.url}, media through the relays of the directory"
        udp = " and ".join(str(Address(*address)) for address in self._relay.public)
        return f"media on UDP {udp}"


@attrs.frozen(kw_only=True)
class RelayServer:
    """What `serve_relay` bound, and the relay behind it."""

    http: Address
    """Where operators ask how it is."""
    relay: Relay

    @property
    def url(self) -> str:
        """Where operators ask, as a URL."""
        return f"http://{_reachable(self.http)}/"

    async def drain(self, seconds: float) -> bool:
        """Have new answers name other relays, and wait until no client is left, or for ``seconds``.

        Returns:
            Whether no client is left.
        """
        self.relay.begin_drain(seconds=seconds)
        return await self.relay.wait_drained()

    async def calls_left(self) -> int:
        """Return how many clients there are."""
        return self.relay.flow_count

    def describe(self) -> str:
        """Say in a line what is where."""
        udp = " and ".join(str(Address(*address)) for address in self.relay.public)
        return f"media on UDP {udp}, health and figures on {self.url}"


def _reachable(http: Address) -> Address:
    return Address("127.0.0.1", http.port) if http.is_wildcard else http
