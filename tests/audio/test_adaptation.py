"""Settings of the encoder, in virtual time: a report every five seconds, as browsers send them."""

from collections.abc import Iterable

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.audio.adaptation import Adaptation, EncoderSettings
from voicegate.rtp import OpusFormat

ASKING = OpusFormat(useinbandfec=True)


@attrs.define
class Path:
    """An adaptation, and the reports on what it sends."""

    adaptation: Adaptation
    now: float = 100.0

    def report(self, losses: Iterable[float], round_trip: float | None = 0.05) -> list[EncoderSettings]:
        """Report, and return the settings after each; a change is told, and only a change."""
        settled = []
        for loss in losses:
            self.now += 5
            before = self.adaptation.settings
            changed = self.adaptation.handle_report(loss, round_trip, now=self.now)
            assert changed == (None if self.adaptation.settings == before else self.adaptation.settings)
            settled.append(self.adaptation.settings)
        return settled


def test_before_the_first_report_the_path_is_taken_to_be_good() -> None:
    assert Adaptation(ASKING).settings == EncoderSettings(
        bitrate=32_000,
        expected_loss_percent=0,
        has_fec=False,
        has_dtx=False,
        is_cbr=False,
        is_redundant=False,
    )


def test_what_the_client_asks_for_is_done() -> None:
    settings = Adaptation(OpusFormat(maxaveragebitrate=20_000, usedtx=True, cbr=True)).settings
    assert settings == EncoderSettings(
        bitrate=20_000,
        expected_loss_percent=0,
        has_fec=False,
        has_dtx=True,
        is_cbr=True,
        is_redundant=False,
    )


@pytest.mark.parametrize(
    ("asked", "wanted", "bitrate"),
    [
        (None, 32_000, 32_000),
        (100_000, 32_000, 32_000),
        (1_000, 32_000, 6_000),
        (None, 1_000, 6_000),
        (None, 900_000, 510_000),
        (600_000, 900_000, 510_000),
    ],
)
def test_the_bit_rate_is_what_opus_and_the_client_can_take(
    asked: int | None, wanted: int, bitrate: int
) -> None:
    assert Adaptation(OpusFormat(maxaveragebitrate=asked), bitrate=wanted).settings.bitrate == bitrate


def test_fec_begins_at_once_on_a_bad_path_and_ends_on_a_good_one() -> None:
    path = Path(Adaptation(ASKING))
    bad = path.report([0.0, 0.0, 0.12, 0.12])
    assert [settings.has_fec for settings in bad] == [False, False, True, True]
    assert bad[-1].expected_loss_percent == 15
    good = path.report([0.0] * 8)
    assert [settings.has_fec for settings in good[:3]] == [True] * 3
    assert not good[-1].has_fec
    assert good[-1].expected_loss_percent <= 5


def test_the_first_report_counts_whole() -> None:
    (first,) = Path(Adaptation(ASKING)).report([0.05])
    assert first.has_fec


def test_a_single_lost_packet_does_not_begin_fec() -> None:
    path = Path(Adaptation(ASKING))
    path.report([0.0] * 20)
    assert not any(settings.has_fec for settings in path.report([0.008, 0.0, 0.008]))


def test_who_does_not_ask_for_fec_gets_none() -> None:
    path = Path(Adaptation(OpusFormat()))
    settled = path.report([0.2] * 4)
    assert not any(settings.has_fec for settings in settled)
    assert [settings.expected_loss_percent for settings in settled] == [20, 20, 20, 20]


def test_expected_loss_rises_fast_and_falls_slowly() -> None:
    path = Path(Adaptation(ASKING))
    rising = [settings.expected_loss_percent for settings in path.report([0.0, 0.4, 0.3, 0.3])]
    assert rising == [0, 20, 25, 25]
    falling = [settings.expected_loss_percent for settings in path.report([0.0] * 4)]
    assert falling == [20, 15, 15, 15]


@pytest.mark.parametrize("has_red", [False, True])
def test_under_heavy_loss_packets_are_smaller_and_sent_twice(has_red: bool) -> None:
    path = Path(Adaptation(ASKING, has_red=has_red))
    settled = path.report([0.15, 0.15, 0.15])
    assert [settings.bitrate for settings in settled] == [28_000] * 3
    assert [settings.is_redundant for settings in settled] == [has_red] * 3
    assert all(settings.has_fec for settings in settled)
    better = path.report([0.0] * 6)
    assert better[0].bitrate == 28_000
    assert (better[-1].bitrate, better[-1].is_redundant) == (32_000, False)


def test_nothing_is_sent_twice_that_would_be_more_than_the_client_can_take() -> None:
    path = Path(Adaptation(OpusFormat(maxaveragebitrate=40_000), has_red=True))
    assert not path.report([0.2] * 4)[-1].is_redundant


def test_a_queue_that_fills_saves_bits_and_forbids_to_send_twice() -> None:
    path = Path(Adaptation(ASKING, has_red=True))
    path.report([0.2] * 4, round_trip=0.05)
    (slow,) = path.report([0.2], round_trip=0.5)
    assert (slow.bitrate, slow.is_redundant) == (24_000, False)
    (still,) = path.report([0.2], round_trip=0.2)
    assert still.bitrate == 24_000
    (fast,) = path.report([0.2], round_trip=0.06)
    assert (fast.bitrate, fast.is_redundant) == (28_000, True)


def test_a_longer_way_is_no_queue_for_ever() -> None:
    path = Path(Adaptation(ASKING))
    path.report([0.0] * 4, round_trip=0.02)
    assert path.report([0.0], round_trip=0.4)[0].bitrate == 24_000
    assert path.report([0.0] * 100, round_trip=0.4)[-1].bitrate == 32_000


def test_a_round_trip_that_is_not_known_changes_nothing() -> None:
    path = Path(Adaptation(ASKING))
    assert {settings.bitrate for settings in path.report([0.0] * 4, round_trip=None)} == {32_000}


@given(
    st.lists(st.tuples(st.floats(0, 1), st.none() | st.floats(0, 10), st.floats(0, 100)), max_size=20),
    st.none() | st.integers(1, 1_000_000),
    st.booleans(),
)
def test_settings_are_always_what_opus_and_the_client_can_take(
    reports: list[tuple[float, float | None, float]], asked: int | None, has_red: bool
) -> None:
    adaptation = Adaptation(OpusFormat(maxaveragebitrate=asked, useinbandfec=True), has_red=has_red)
    now = 0.0
    for loss, round_trip, pause in reports:
        now += pause
        adaptation.handle_report(loss, round_trip, now=now)
        settings = adaptation.settings
        copies = 2 if settings.is_redundant else 1
        assert 6_000 <= settings.bitrate <= 32_000
        assert copies * settings.bitrate <= max(asked or 510_000, 6_000)
        assert 0 <= settings.expected_loss_percent <= 25
