from voicegate.testing.link import Link


def carry(link: Link, count: int = 1000) -> list[int]:
    for number in range(count):
        link.send(number.to_bytes(2, "big"), now=number * 0.001)
    return [int.from_bytes(data, "big") for data in link.receive(now=100.0)]


def test_a_link_without_faults_delivers_each_datagram_once_in_order_and_on_time() -> None:
    link = Link(delay=0.5)
    assert link.poll_timeout() is None
    link.send(b"a", now=1.0)
    assert link.poll_timeout() == 1.5
    assert link.receive(now=1.4) == []
    assert link.receive(now=1.5) == [b"a"]
    assert carry(link) == list(range(1000))


def test_loss_takes_its_part() -> None:
    arrived = carry(Link(loss=0.3))
    assert 600 < len(arrived) < 800
    assert arrived == sorted(arrived)


def test_duplication_delivers_twice() -> None:
    arrived = carry(Link(duplication=0.5))
    assert 1400 < len(arrived) < 1600
    assert set(arrived) == set(range(1000))


def test_jitter_puts_out_of_order_but_loses_nothing() -> None:
    arrived = carry(Link(jitter=0.05))
    assert arrived != sorted(arrived)
    assert sorted(arrived) == list(range(1000))


def test_what_is_longer_than_the_mtu_is_lost() -> None:
    link = Link(mtu=100)
    link.send(bytes(101), now=0.0)
    link.send(bytes(100), now=0.0)
    assert link.receive(now=1.0) == [bytes(100)]


def test_the_same_seed_repeats_the_same_faults() -> None:
    faults = {"loss": 0.2, "jitter": 0.05, "duplication": 0.1}
    assert carry(Link(seed=7, **faults)) == carry(Link(seed=7, **faults))  # type: ignore[arg-type] # floats
    assert carry(Link(seed=7, **faults)) != carry(Link(seed=8, **faults))  # type: ignore[arg-type] # floats
