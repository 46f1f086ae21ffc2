"""A service that keeps its calls in a dict, and the real server in front of it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, Unpack

import httpx2
import pytest
import trio

from voicegate.access import Grant
from voicegate.signalling import CreatedCall, Door, OfferRefused, serve_http
from voicegate.signalling.api import client_address, unknown_call
from voicegate.signalling.service import JSON, CallTerms, DrainState, Handshake

OFFER = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n"


class MemoryService:
    """Answers each offer with itself; `before_answer` lets a test hold or break it."""

    agent_name = "<parrot>"

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, Any]] = {}
        self.offers: list[tuple[str, Mapping[str, JSON] | None, str]] = []
        self.data_channel_ids: list[int | None] = []
        self.terms: list[CallTerms] = []
        self.sockets: list[tuple[str, Grant, str]] = []
        self.ready = True
        self.drain_seconds: float | None = None
        self.before_answer: Callable[[], Any] | None = None

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        data_channel_id = terms.get("data_channel_id")
        self.terms.append(terms)
        self.offers.append((offer, terms["session"], terms["client"]))
        self.data_channel_ids.append(data_channel_id)
        if self.before_answer is not None:
            await self.before_answer()
        if "m=video" in offer:
            raise OfferRefused("m-line 0 is video.", param="m=0")
        if data_channel_id is not None and "m=application" not in offer:
            raise OfferRefused("There are no data channels.", code="no_data_section", param="dcid")
        call_id = f"rtc_{len(self.calls)}"
        self.calls[call_id] = {"id": call_id, "state": "connected", "cause": None, "phases": {"offer": 1.5}}
        return CreatedCall(id=call_id, answer=offer)

    async def end_call(self, call_id: str) -> bool:
        call = self.calls.get(call_id)
        if call is None or call["state"] == "ended":
            return False
        call |= {"state": "ended", "cause": "client_hung_up"}
        return True

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:
        if call_id not in self.calls:
            raise unknown_call()
        await self._converse(call_id, handshake, grant)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        if self.before_answer is not None:
            await self.before_answer()
        await self._converse(model, handshake, grant)

    async def _converse(self, name: str, handshake: Handshake, grant: Grant) -> None:
        """Say everything back, until told to do something else."""
        self.sockets.append((name, grant, client_address(handshake.request)))
        socket = await handshake.accept()
        while (text := await socket.receive()) is not None:
            match text:
                case "close":
                    await socket.close(4000, "as you say")
                case "fail":
                    raise RuntimeError(text)
                case "leave":
                    return
                case _:
                    await socket.send(text)

    def owner(self, call_id: str) -> Door | None:
        return None

    def local_call(self, call_id: str) -> None:
        return None

    def restart_ice(self, call: object, remote: object) -> Any:
        raise NotImplementedError

    async def sessions(self) -> Sequence[Mapping[str, JSON]]:
        return list(self.calls.values())

    async def session(self, call_id: str) -> Mapping[str, JSON] | None:
        return self.calls.get(call_id)

    async def metrics(self) -> bytes:
        return b"voicegate_calls 1\n"

    async def is_ready(self) -> bool:
        return self.ready

    async def begin_drain(self, *, seconds: float) -> None:
        self.drain_seconds = seconds

    async def end_drain(self) -> None:
        self.drain_seconds = None

    async def drain_state(self) -> DrainState:
        return DrainState(
            is_draining=self.drain_seconds is not None,
            seconds_left=self.drain_seconds,
            calls=len(self.calls),
        )


@pytest.fixture
def service() -> MemoryService:
    return MemoryService()


@pytest.fixture
async def address(service: MemoryService, nursery: trio.Nursery) -> tuple[str, int]:
    bound: tuple[str, int] = await nursery.start(partial(serve_http, service, host="127.0.0.1", port=0))
    return bound


@pytest.fixture
async def http(address: tuple[str, int]) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=f"http://{address[0]}:{address[1]}", timeout=60) as client:
        yield client
