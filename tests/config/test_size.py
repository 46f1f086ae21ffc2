import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.config import Config, Role
from voicegate.config.size import AUTO, CALLS_PER_WORKER, choose_sizes
from voicegate.machine import Machine

ALL = {"relay_workers": AUTO, "workers": AUTO, "max_calls": AUTO}
GIB = 1024**3


@pytest.mark.parametrize(
    ("role", "cores", "expected"),
    [
        ("serve", 1, (1, 1)),
        ("serve", 2, (1, 1)),
        ("serve", 4, (1, 2)),
        ("serve", 8, (1, 6)),
        ("serve", 16, (3, 12)),
        ("relay", 1, (1, 1)),
        ("relay", 4, (3, 1)),
        ("transceiver", 4, (1, 3)),
    ],
)
def test_one_core_is_left_and_the_rest_is_shared_out(
    role: Role, cores: int, expected: tuple[int, int]
) -> None:
    sizes = choose_sizes(ALL, role, machine=Machine(cores=cores, memory=None))
    assert (sizes["relay_workers"], sizes["workers"] if role != "relay" else 1) == expected
    assert sizes["max_calls"] == sizes["workers"] * CALLS_PER_WORKER


def test_what_is_given_stays_and_the_rest_goes_by_it() -> None:
    given = {"relay_workers": 2, "workers": AUTO, "max_calls": 7}
    sizes = choose_sizes(given, "serve", machine=Machine(cores=8, memory=None))
    assert sizes == {"relay_workers": 2, "workers": 5, "max_calls": 7}


def test_little_memory_is_for_few_calls() -> None:
    machine = Machine(cores=4, memory=GIB // 2)
    assert choose_sizes(ALL, "transceiver", machine=machine)["max_calls"] == 3
    machine = Machine(cores=4, memory=GIB)
    assert choose_sizes(ALL, "transceiver", machine=machine)["max_calls"] == 360
    machine = Machine(cores=2, memory=GIB // 2)
    assert choose_sizes(ALL, "transceiver", machine=machine)["max_calls"] == 120


@pytest.mark.slow
@given(
    cores=st.integers(1, 1024),
    memory=st.none() | st.integers(0, 1 << 50),
    role=st.sampled_from(["serve", "relay", "transceiver"]),
)
def test_every_machine_gets_a_configuration_that_works(cores: int, memory: int | None, role: Role) -> None:
    sizes = choose_sizes(ALL, role, machine=Machine(cores=cores, memory=memory))
    config = Config.load(None, sizes)
    assert config.max_calls >= config.workers


def test_auto_is_a_number_once_it_is_loaded() -> None:
    config = Config.load(
        None,
        {"max_calls": "auto"},
        environment={"VOICEGATE_WORKERS": "auto", "VOICEGATE_RELAY_WORKERS": "auto"},
    )
    assert all(isinstance(size, int) for size in (config.workers, config.relay_workers, config.max_calls))
