"""Which of several paths the test client takes, in virtual time."""

from math import inf

import pytest

from tests.transceiver.harness import seeded
from voicegate.ice import Credentials, Message
from voicegate.ice.stun import binding_success
from voicegate.testing.checker import CHECK_INTERVAL
from voicegate.testing.client_path import RECEIVING_SECONDS, ClientPaths
from voicegate.wire.path import address_bytes

REMOTE = Credentials(ufrag="efgh", pwd="y" * 22)


class Network:
    """Answers checks after a round trip that is different on each path."""

    def __init__(self, *round_trips: float, receiving_seconds: float = RECEIVING_SECONDS) -> None:
        self.paths = ClientPaths(
            local=Credentials(ufrag="abcd", pwd="x" * 22),
            random=seeded(1),
            keepalive_interval=2.5,
            receiving_seconds=receiving_seconds,
            sped=None,
        )
        self.round_trips = list(round_trips)
        self.nominated: list[tuple[float, int]] = []
        self.checks: list[tuple[float, int]] = []
        self._arriving: list[tuple[float, int, bytes]] = []
        self._now = 0.0
        self.paths.start(REMOTE, count=len(round_trips), now=0.0)

    def run(self, until: float, *, media: bool = True) -> None:
        """Let time pass, in steps of a packet; media comes on the selected path as long as that works."""
        while self._now < until:
            due = [each for each in self._arriving if each[0] <= self._now]
            self._arriving = [each for each in self._arriving if each[0] > self._now]
            for _at, path, data in due:
                self.paths.note_heard(path, now=self._now)
                self.paths.handle_datagram(data, path=path, now=self._now)
            if media and self.paths.is_reached and self.round_trips[self.paths.selected] < inf:
                self.paths.note_heard(self.paths.selected, now=self._now)
            deadline = self.paths.poll_timeout()
            if deadline is not None and deadline <= self._now:
                self.paths.handle_timeout(now=self._now)
            while (leaving := self.paths.poll_transmit()) is not None:
                self._send(*leaving)
            self._now = round(self._now + 0.005, 3)

    def _send(self, path: int, data: bytes) -> None:
        check = Message.decode(data)
        self.checks.append((self._now, path))
        if check.has_use_candidate:
            self.nominated.append((self._now, path))
        host = address_bytes("192.0.2.1")
        answer = binding_success(check, host=host, port=5000, key=REMOTE.pwd.encode())
        self._arriving.append((self._now + self.round_trips[path], path, answer))


def test_paths_are_checked_one_after_the_other_and_all_are_kept_alive() -> None:
    network = Network(0.02, 0.02, 0.1)
    network.run(6.0)
    begun = {path: at for at, path in reversed(network.checks)}
    assert begun == {0: 0.0, 1: CHECK_INTERVAL, 2: 2 * CHECK_INTERVAL}
    assert all(sum(path == each for _at, path in network.checks) >= 3 for each in range(3))
    assert [path for _at, path in network.nominated] == [0]
    assert network.paths.round_trips == pytest.approx([0.02, 0.02, 0.1])


def test_a_faster_path_that_answers_later_takes_over() -> None:
    network = Network(0.2, 0.2, 0.02)
    network.run(4.0)
    assert [path for _at, path in network.nominated] == [2]
    network = Network(0.1, 0.04)
    network.run(4.0)
    assert [path for _at, path in network.nominated] == [1]


def test_a_path_that_is_hardly_faster_does_not() -> None:
    network = Network(0.02, 0.015)
    network.run(6.0)
    assert network.paths.selected == 0


def test_a_path_on_which_nothing_comes_is_left_for_the_fastest_other() -> None:
    network = Network(0.02, 0.15, 0.05)
    network.run(6.0)
    assert network.paths.selected == 0
    network.round_trips[0] = inf
    network.run(6.0 + RECEIVING_SECONDS + 0.05)
    assert [path for _at, path in network.nominated] == [0, 2]
    assert network.nominated[-1][0] - 6.0 <= RECEIVING_SECONDS + 0.05
    network.run(20.0)
    assert network.paths.selected == 2


def test_a_path_that_is_back_is_taken_again_if_it_is_the_faster() -> None:
    network = Network(0.02, 0.15)
    network.run(3.0)
    network.round_trips[0] = inf
    network.run(8.0)
    assert network.paths.selected == 1
    network.round_trips[0] = 0.02
    network.run(14.0)
    assert network.paths.selected == 0


def test_when_no_path_works_all_are_checked_until_one_does() -> None:
    network = Network(0.02, 0.02)
    network.run(3.0)
    network.round_trips[:] = [inf, inf]
    network.run(10.0)
    searching = [at for at, path in network.checks if path == 1 and at > 7.0]
    assert len(searching) > 8
    network.round_trips[1] = 0.02
    network.run(10.5)
    assert network.paths.selected == 1


def test_with_endless_patience_a_silent_path_is_kept() -> None:
    network = Network(0.02, 0.02, receiving_seconds=inf)
    network.run(3.0)
    network.round_trips[0] = inf
    network.run(15.0)
    assert network.paths.selected == 0


def test_what_comes_from_nowhere_changes_nothing() -> None:
    network = Network(0.02)
    network.paths.note_heard(5, now=0.0)
    assert network.paths.handle_datagram(b"", path=5, now=0.0) is None
    network.paths.stop()
    assert network.paths.poll_timeout() is None
