"""The relays that are measured: ours, with and without batches on the hop, and the references."""

import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import attrs
import trio

from voicegate.bench.compiler import build
from voicegate.bench.program import open_program, pin
from voicegate.bench.traffic import OURS, OURS_PLAIN, REFERENCE_C, REFERENCE_GO
from voicegate.ice.credentials import Keyring, Route
from voicegate.ice.stun import binding_request
from voicegate.relay import RelayConfig, run_relay

__all__ = ["Contender", "open_contenders", "write_checks"]

_TRANSCEIVER_ID: Final = 1
_HOST: Final = "127.0.0.1"
_SOURCES: Final = {REFERENCE_C: "relay.c", REFERENCE_GO: "relay.go"}


@attrs.frozen(kw_only=True)
class Contender:
    """A running relay; ports are of 127.0.0.1."""

    name: str
    public: int
    hop: int
    processes: Sequence[int]
    is_segmented: bool = False
    """Whether the transceiver sends it UDP_SEGMENT batches."""
    checks: Path | None = None
    """The connectivity checks that open its flows, if it wants any: see `write_checks`."""


@asynccontextmanager
async def open_contenders(
    names: Sequence[str], *, transceiver: int, flows: int, folder: Path, processor: int
) -> AsyncIterator[list[Contender]]:
    """Run relays, all on one processor, towards the transceiver at a port.

    Args:
        names: Which.
        transceiver: The port.
        flows: How many flows there will be at most.
        folder: Where there is room for files.
        processor: Its number.

    Errors: BenchError, UsageError: something can't be built or started.
    """
    async with AsyncExitStack() as stack:
        contenders = []
        for name in names:
            if name in _SOURCES:
                opened = _open_reference(name, transceiver=transceiver, folder=folder, processor=processor)
            else:
                opened = _open_ours(
                    name, transceiver=transceiver, flows=flows, folder=folder, processor=processor
                )
            contenders.append(await stack.enter_async_context(opened))
        yield contenders


def write_checks(keyring: Keyring, flows: int, path: Path) -> None:
    """Write a connectivity check for each flow, each of another session, as the generator reads them."""
    with path.open("wb") as file:
        for flow in range(flows):
            credentials = keyring.mint(Route(_TRANSCEIVER_ID, flow.to_bytes(8, "big")))
            check = binding_request(
                transaction_id=flow.to_bytes(12, "big"),
                username=f"{credentials.ufrag}:load",
                key=credentials.pwd.encode(),
                priority=1,
                ice_controlling=flow,
            )
            file.write(len(check).to_bytes(2, "big") + check)


@asynccontextmanager
async def _open_reference(
    name: str, *, transceiver: int, folder: Path, processor: int
) -> AsyncIterator[Contender]:
    command = [str(await build(_SOURCES[name], folder)), "0", "0", str(transceiver)]
    async with open_program(f"the relay in {name}", command, processor=processor) as (program, ports):
        yield Contender(name=name, public=ports["public"], hop=ports["hop"], processes=[program.pid])


@asynccontextmanager
async def _open_ours(
    name: str, *, transceiver: int, flows: int, folder: Path, processor: int
) -> AsyncIterator[Contender]:
    secret = os.urandom(32)
    checks = folder / f"checks-{name == OURS}"
    write_checks(Keyring([secret]), flows, checks)
    config = RelayConfig(
        secrets=[secret],
        public=[(_HOST, 0)],
        hop=(_HOST, 0),
        flow_limit=2 * flows,
        hop_offload=name != OURS_PLAIN,
        transceivers={_TRANSCEIVER_ID: (_HOST, transceiver)},
    )
    async with trio.open_nursery() as nursery:
        relay = await nursery.start(run_relay, config)
        for pid in relay.pids:
            pin(pid, processor)
        yield Contender(
            name=name,
            public=relay.public[0][1],
            hop=relay.hop[1],
            processes=relay.pids,
            is_segmented=name != OURS_PLAIN,
            checks=checks,
        )
        nursery.cancel_scope.cancel()
