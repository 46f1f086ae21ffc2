import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.machine import Machine, read_machine

GIB = 1024**3


def make(root: Path, files: dict[str, str]) -> Path:
    for name, text in {"proc/meminfo": "MemFree: 1 kB\nMemTotal: 8388608 kB\n", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


VERSION_2 = {"proc/self/cgroup": "0::/pods/one\n"}
VERSION_1 = {"proc/self/cgroup": "5:cpu,cpuacct:/pod\n4:memory:/pod\n3:cpuset:/\n1:name=systemd:/\n"}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, Machine(cores=8, memory=8 * GIB)),
        ({"proc/meminfo": "nothing"}, Machine(cores=8, memory=None)),
        # Version 2: the quota is rounded down, but to one core at least.
        (
            {**VERSION_2, "sys/fs/cgroup/pods/one/cpu.max": "250000 100000\n"},
            Machine(cores=2, memory=8 * GIB),
        ),
        ({**VERSION_2, "sys/fs/cgroup/pods/one/cpu.max": "50000 100000\n"}, Machine(cores=1, memory=8 * GIB)),
        ({**VERSION_2, "sys/fs/cgroup/pods/one/cpu.max": "max 100000\n"}, Machine(cores=8, memory=8 * GIB)),
        # The least limit of all groups above counts.
        (
            {
                **VERSION_2,
                "sys/fs/cgroup/pods/one/cpu.max": "600000 100000",
                "sys/fs/cgroup/pods/cpu.max": "400000 100000",
                "sys/fs/cgroup/pods/one/memory.max": "max",
                "sys/fs/cgroup/pods/memory.max": str(2 * GIB),
            },
            Machine(cores=4, memory=2 * GIB),
        ),
        (
            {**VERSION_2, "sys/fs/cgroup/pods/one/cpuset.cpus.effective": "0-2,7\n"},
            Machine(cores=4, memory=8 * GIB),
        ),
        # In a container, what is mounted is the group itself, and the path says nothing there.
        (
            {
                "proc/self/cgroup": "0::/../../kubepods/pod7/abc",
                "sys/fs/cgroup/cpu.max": "300000 100000",
                "sys/fs/cgroup/memory.max": str(GIB),
            },
            Machine(cores=3, memory=GIB),
        ),
        (
            {
                **VERSION_1,
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu,cpuacct/pod/cpu.cfs_period_us": "50000\n",
                "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": f"{GIB}\n",
                "sys/fs/cgroup/cpuset/cpuset.cpus": "1-4",
            },
            Machine(cores=3, memory=GIB),
        ),
        (
            {
                **VERSION_1,
                "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/pod/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/cpuset/cpuset.cpus": "1-4",
            },
            Machine(cores=4, memory=8 * GIB),
        ),
        ({**VERSION_2, "sys/fs/cgroup/pods/one/cpu.max": "0 0"}, Machine(cores=8, memory=8 * GIB)),
        ({**VERSION_2, "sys/fs/cgroup/pods/one/cpuset.cpus": "7-3,x"}, Machine(cores=8, memory=8 * GIB)),
    ],
)
def test_the_least_limit_is_what_may_be_used(
    tmp_path: Path, files: dict[str, str], expected: Machine
) -> None:
    assert read_machine(make(tmp_path, files), processors=8) == expected


def test_this_machine_has_a_core_and_memory() -> None:
    machine = read_machine()
    assert 1 <= machine.cores <= len(os.sched_getaffinity(0))
    assert machine.memory is None or machine.memory > 0


def test_nothing_that_can_be_read_is_no_limit(tmp_path: Path) -> None:
    assert read_machine(tmp_path, processors=3) == Machine(cores=3, memory=None)


@pytest.mark.slow
@settings(max_examples=40)
@given(group=st.binary(max_size=200), limit=st.binary(max_size=60))
def test_any_bytes_in_these_files_give_a_machine(
    tmp_path_factory: pytest.TempPathFactory, group: bytes, limit: bytes
) -> None:
    root = tmp_path_factory.getbasetemp() / "machine"
    for name, data in {
        "proc/self/cgroup": group,
        "proc/meminfo": b"MemTotal:" + limit,
        "sys/fs/cgroup/cpu.max": limit,
        "sys/fs/cgroup/cpuset.cpus.effective": limit,
        "sys/fs/cgroup/memory.max": limit,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    assert 1 <= read_machine(root, processors=4).cores <= 4
