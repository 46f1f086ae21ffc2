from voicegate.sctp.congestion import CongestionControl
from voicegate.sctp.round_trip import RoundTrip


def test_the_window_grows_fast_until_the_first_loss_and_slowly_then() -> None:
    control = CongestionControl(1000)
    assert control.window == 10_000
    for _ in range(10):
        control.acknowledge(2000, cumulative_tsn=1, is_advanced=True, was_full=True)
    assert control.window == 30_000
    control.lose(last_tsn=50)
    assert control.window == 15_000
    assert [control.is_recovering] == [True]
    control.acknowledge(2000, cumulative_tsn=49, is_advanced=True, was_full=True)
    assert control.window == 15_000
    control.acknowledge(2000, cumulative_tsn=50, is_advanced=True, was_full=True)
    assert [control.is_recovering] == [False]
    # Full once: slow start to the threshold and just beyond; from there a packet for each window.
    control.acknowledge(2000, cumulative_tsn=60, is_advanced=True, was_full=True)
    assert control.window == 17_000
    for _ in range(9):
        control.acknowledge(2000, cumulative_tsn=60, is_advanced=True, was_full=True)
    assert control.window == 18_000


def test_a_window_that_is_not_used_does_not_grow() -> None:
    control = CongestionControl(1000)
    control.acknowledge(2000, cumulative_tsn=1, is_advanced=True, was_full=False)
    control.acknowledge(2000, cumulative_tsn=1, is_advanced=False, was_full=True)
    assert control.window == 10_000


def test_after_a_timeout_one_packet_goes() -> None:
    control = CongestionControl(1000)
    control.lose(last_tsn=9)
    control.time_out()
    assert control.window == 1000
    assert not control.is_recovering
    for _ in range(3):
        control.acknowledge(1000, cumulative_tsn=1, is_advanced=True, was_full=True)
    assert control.window == 4000


def test_a_measured_round_trip_counts_more_than_a_supposed_one() -> None:
    trip = RoundTrip()
    assert trip.timeout == 1.0
    trip.suppose(0.1)
    assert abs(trip.timeout - 0.3) < 1e-9
    trip.measure(0.5)
    trip.suppose(0.01)
    assert trip.smoothed == 0.5
    assert abs(trip.timeout - 1.5) < 1e-9
    for _ in range(200):
        trip.measure(0.05)
    assert abs(trip.timeout - 0.25) < 1e-3


def test_waiting_doubles_to_an_end_and_a_measurement_starts_it_anew() -> None:
    trip = RoundTrip()
    trip.measure(0.1)
    waits = []
    for _ in range(8):
        waits.append(round(trip.timeout, 3))
        trip.back_off()
    assert waits == [0.3, 0.6, 1.2, 2.4, 3.0, 3.0, 3.0, 3.0]
    trip.measure(0.1)
    assert round(trip.timeout, 3) == 0.3
    assert [trip.handshake_timeout(attempt) for attempt in range(6)] == [0.2, 0.4, 0.8, 1.6, 3.0, 3.0]


def test_a_path_slower_than_the_longest_wait_is_waited_for() -> None:
    trip = RoundTrip()
    trip.measure(4.0)
    assert trip.timeout == 12.0
    trip.back_off()
    assert trip.timeout == 24.0
    assert trip.handshake_timeout(5) == 8.0
