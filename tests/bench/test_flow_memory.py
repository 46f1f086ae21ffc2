import pytest

from voicegate.bench.flow_memory import fill, measure_memory
from voicegate.bench.server import BenchError


def test_all_flows_are_opened() -> None:
    memory = fill(300)
    assert memory.flows == 300
    assert memory.seconds > 0


@pytest.mark.slow
async def test_it_is_measured_in_a_process_of_its_own() -> None:
    memory = await measure_memory(50_000)
    assert memory.flows == 50_000
    # An entry has a key of 19 bytes, at least.
    assert memory.bytes_per_flow > 19


@pytest.mark.slow
async def test_a_process_that_fails_is_told() -> None:
    with pytest.raises(BenchError, match="exit status"):
        await measure_memory(-1)
