"""Machines of a cluster in one process: each has its HTTP address, its peer listener, and a few slots."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from typing import Any

import attrs
import httpx2
import pytest
import trio

from tests.signalling.conftest import OFFER, MemoryService
from voicegate.directory import Address, MemoryDirectory, TransceiverLease
from voicegate.fleet import FleetCalls, MachineCalls, run_peer_listener
from voicegate.ice import Route
from voicegate.signalling import CreatedCall, OfferRefused, serve_http
from voicegate.signalling.locate import Locator
from voicegate.signalling.service import Handshake
from voicegate.transceiver.call_id import call_id_of

SECRET, OLD_SECRET, OTHER_SECRET = (bytes([n]) * 32 for n in range(3))


def busy(*, retry_after: int = 5, status: int = 503, code: str = "no_capacity") -> OfferRefused:
    headers = {"Retry-After": str(retry_after)}
    return OfferRefused("Not now.", status=status, code=code, param=None, headers=headers)


class Box(MemoryService):
    """The calls of one machine, with ids as a transceiver's have."""

    def __init__(self, number: int, *, slots: int = 100) -> None:
        super().__init__()
        self.number = number
        self.slots = slots
        self.fault: OfferRefused | None = None

    @property
    def transceiver_ids(self) -> Sequence[int]:
        return [self.number]

    async def create_call(self, offer: str, **terms: Any) -> CreatedCall:
        call = await super().create_call(offer, **terms)
        del self.calls[call.id]
        self._check_room()
        id_ = self.call_id(len(self.calls))
        self.calls[id_] = {"id": id_, "state": "connected", "cause": None, "phases": {}}
        return attrs.evolve(call, id=id_)

    async def run_session(self, handshake: Handshake, **terms: Any) -> None:
        self._check_room()
        await super().run_session(handshake, **terms)

    def call_id(self, n: int) -> str:
        return call_id_of(Route(self.number, n.to_bytes(8, "big")))

    def _check_room(self) -> None:
        if self.fault is not None:
            raise self.fault
        if len(self.calls) >= self.slots:
            raise busy()


@attrs.frozen(eq=False)
class Machine:
    """One machine; ``own`` has its calls."""

    own: Any
    fleet: FleetCalls
    peer: Address
    address: tuple[str, int]
    http: httpx2.AsyncClient

    async def ask(self, method: str, path: str, **rest: Any) -> httpx2.Response:
        return await self.http.request(method, f"http://127.0.0.1:{self.address[1]}{path}", **rest)

    async def call(self, regions: Sequence[str] = ()) -> str:
        """Make a call for a client of these regions."""
        created = await self.fleet.create_call(OFFER, session=None, client="192.0.2.1", regions=regions)
        return created.id

    @property
    def offers(self) -> int:
        """Those that it was asked to take."""
        return len(self.own.offers)


class Cluster:
    """Starts machines that share a directory."""

    def __init__(self, nursery: trio.Nursery, http: httpx2.AsyncClient) -> None:
        self.nursery = nursery
        self.http = http
        self.directory = MemoryDirectory()

    async def start(
        self,
        own: MachineCalls,
        *,
        region: str = "",
        secrets: Sequence[bytes] = (SECRET,),
        locator: Locator | None = None,
        calls: int = 0,
        **lease: Any,
    ) -> Machine:
        """Start a machine; ``calls`` of 100 is what it says of its load."""
        fleet = FleetCalls(own, self.directory, secrets=secrets, region=region)
        listen = partial(run_peer_listener, own, ("127.0.0.1", 0), secrets, counts=fleet.counts)
        peer = await self.nursery.start(listen)
        address = await self.nursery.start(
            partial(serve_http, fleet, host="127.0.0.1", port=0, locator=locator)
        )
        for id_ in own.transceiver_ids:
            self.register(id_, peer, region=region, calls=calls, **lease)
        return Machine(own, fleet, peer, address, self.http)

    async def start_boxes(self, *slots: int, **rest: Any) -> list[Machine]:
        """Start machines 1, 2, ... with so many slots each, the first ones the emptier for all they say."""
        return [
            await self.start(Box(n, slots=each), calls=n * 10, **rest)
            for n, each in enumerate(slots, start=1)
        ]

    def register(self, transceiver_id: int, peer: Address | None, **lease: Any) -> None:
        made = TransceiverLease(hop=("127.0.0.1", 9), peer=peer, **{"max_calls": 100, **lease})
        self.directory.register(transceiver_id, made)


@pytest.fixture
async def cluster(nursery: trio.Nursery) -> AsyncIterator[Cluster]:
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as http:
        yield Cluster(nursery, http)
