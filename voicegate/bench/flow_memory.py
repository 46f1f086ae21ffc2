"""What flows take in our relay: opens very many in a process of its own and watches it grow.

    python -m voicegate.bench.flow_memory 1000000

It prints one JSON object: ``{"flows": ..., "bytes": ..., "seconds": ...}``.
"""

import json
import resource
import sys
from pathlib import Path
from time import perf_counter
from typing import Final

import trio

from voicegate.bench.server import BenchError
from voicegate.bench.traffic import FlowMemory
from voicegate.relay.flows import FlowTable
from voicegate.wire.path import address_bytes

__all__ = ["fill", "measure_memory"]

_TRANSCEIVERS: Final = 16
_FIRST_CLIENT: Final = int.from_bytes(address_bytes("100.64.0.0"), "big")


async def measure_memory(flows: int) -> FlowMemory:
    """Open that many flows in a new process.

    Errors: BenchError when it ended without a figure.
    """
    command = [sys.executable, "-m", __name__, str(flows)]
    done = await trio.run_process(command, check=False, capture_stdout=True, process_group=0)
    if done.returncode:
        raise BenchError(f"the table of {flows} flows ended with exit status {done.returncode}")
    return FlowMemory(**json.loads(done.stdout))


def fill(flows: int) -> FlowMemory:
    """Open and confirm that many flows, each of another address, and see by how much this process grew."""
    clients = ((_FIRST_CLIENT + flow).to_bytes(16, "big") for flow in range(flows))
    before = _resident()
    began_at = perf_counter()
    table = FlowTable(flow_limit=flows, source_limit=flows)
    for flow, host in enumerate(clients):
        client = (host, 1024 + flow % 60_000, False)
        transceiver = flow % _TRANSCEIVERS
        if not table.open(client, transceiver, now=0.0):
            raise BenchError(f"the table has no room for flow {flow}")
        table.confirm(client, transceiver, now=0.0)
    seconds = perf_counter() - began_at
    return FlowMemory(flows=len(table), bytes=_resident() - before, seconds=seconds)


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


if __name__ == "__main__":
    memory = fill(int(sys.argv[1]))
    found = {"flows": memory.flows, "bytes": memory.bytes, "seconds": round(memory.seconds, 3)}
    print(json.dumps(found))  # noqa: T201 - what `measure_memory` reads
