"""How to encode for one listener: what it asks for (RFC 7587 §6.1), and what its reports say of the path.

1. Loss is smoothed: it counts fast when it rises, and is forgotten slowly, since it comes in bursts.
2. From 1 % on, packets carry a copy of the one before (in-band FEC), if the listener can use it.
3. From 10 % on, they are sent twice (RED) where that was negotiated, each a little smaller.
4. A round trip that grows is a queue that fills: then bits are saved, and nothing is sent twice.

Each rule has one threshold to begin and a lower one to end, so that nothing flickers. Before the first report
the path counts as lossy enough for FEC: browsers take five seconds to report, and a greeting is over by then.
"""

from math import ceil, exp
from typing import Final

import attrs

from voicegate.audio.opus import DEFAULT_BITRATE
from voicegate.rtp.opus_format import OpusFormat

__all__ = ["Adaptation", "EncoderSettings"]

MIN_BITRATE: Final = 6_000
MAX_BITRATE: Final = 510_000
"""What Opus can do (RFC 7587 §6.1)."""

_RISE: Final = 0.5
"""The part of a report above the smoothed loss that counts at once."""
_FORGETTING_SECONDS: Final = 15.0
"""After which a third of a loss is left: three reports of a browser."""

_FEC_LOSS: Final = (0.03, 0.05)
"""Of the smoothed loss: FEC ends below the first and begins at the second; so with the next pairs.

Below, the copies cost more in quality, and in processor time, than they save (docs/adr/0016)."""
_HEAVY_LOSS: Final = (0.05, 0.10)
_QUEUE_SECONDS: Final = (0.10, 0.25)

_LEAST_LOSS_WITH_FEC: Final = 15
"""Percent. At 32 kbit/s libopus 1.3 leaves FEC out up to 5 % and narrows the band below this (measured)."""
_MOST_LOSS: Final = 25
"""Percent; libopus makes no difference above."""
_LOSS_STEP: Final = 5
"""Percent; finer steps would set the encoder anew with each report."""

_HEAVY_BITRATE: Final = 7 / 8
"""Of the usual: 28 kbit/s, at which libopus affords FEC without falling back to wide-band (measured)."""
_QUEUE_BITRATE: Final = 3 / 4
_ROUTE_GAIN: Final = 0.02
"""How much of a longer round trip is taken for the way itself with each report: routes do change."""


@attrs.frozen(kw_only=True)
class EncoderSettings:
    """How to encode from now on."""

    bitrate: int
    """Bits per second of one copy."""
    expected_loss_percent: int
    has_fec: bool
    """Whether packets carry a copy of the one before."""
    has_dtx: bool
    """Whether silence is left out."""
    is_cbr: bool
    """Whether all packets are of one size."""
    is_redundant: bool
    """Whether each payload is sent again with the next (RFC 2198)."""


class Adaptation:
    """The encoder's settings for one listener, as they follow its reports."""

    __slots__ = (
        "_asked",
        "_base_round_trip",
        "_bitrate",
        "_has_fec",
        "_has_red",
        "_is_heavy",
        "_is_queueing",
        "_loss",
        "_reported_at",
        "settings",
    )

    def __init__(self, asked: OpusFormat, *, has_red: bool = False, bitrate: int = DEFAULT_BITRATE) -> None:
        """Begin without a report.

        Args:
            asked: What the listener asks for.
            has_red: Whether it takes redundant audio.
            bitrate: What is spent on a good path, if the listener does not ask for less.
        """
        limit = asked.maxaveragebitrate or MAX_BITRATE
        self._asked = asked
        self._has_red = has_red
        self._bitrate = min(max(min(bitrate, limit), MIN_BITRATE), MAX_BITRATE)
        self._loss = 0.0
        self._reported_at: float | None = None
        self._base_round_trip: float | None = None
        self._has_fec = False
        self._is_heavy = False
        self._is_queueing = False
        self.settings: EncoderSettings = self._settle()
        """What is best as of the last report."""

    def handle_report(
        self, fraction_lost: float, round_trip: float | None, *, now: float
    ) -> EncoderSettings | None:
        """Take note of a report; return the settings if they have changed.

        Args:
            fraction_lost: The part of our packets, 0 to 1, that was lost since the report before.
            round_trip: Seconds; None while unknown.
            now: When the report came.
        """
        self._note_loss(fraction_lost, now)
        self._note_round_trip(round_trip)
        self._has_fec = self._asked.useinbandfec and _switched(self._has_fec, self._loss, _FEC_LOSS)
        self._is_heavy = _switched(self._is_heavy, self._loss, _HEAVY_LOSS)
        settings = self._settle()
        if settings == self.settings:
            return None
        self.settings = settings
        return settings

    def _note_loss(self, fraction_lost: float, now: float) -> None:
        if self._reported_at is None:
            self._loss = fraction_lost
        elif fraction_lost >= self._loss:
            self._loss += (fraction_lost - self._loss) * _RISE
        else:
            kept = exp((self._reported_at - now) / _FORGETTING_SECONDS)
            self._loss = fraction_lost + (self._loss - fraction_lost) * kept
        self._reported_at = now

    def _note_round_trip(self, round_trip: float | None) -> None:
        if round_trip is None:
            return
        base = round_trip if self._base_round_trip is None else min(self._base_round_trip, round_trip)
        self._is_queueing = _switched(self._is_queueing, round_trip - base, _QUEUE_SECONDS)
        self._base_round_trip = base + (round_trip - base) * _ROUTE_GAIN

    def _settle(self) -> EncoderSettings:
        part = _QUEUE_BITRATE if self._is_queueing else _HEAVY_BITRATE if self._is_heavy else 1
        bitrate = max(MIN_BITRATE, int(self._bitrate * part))
        limit = self._asked.maxaveragebitrate or MAX_BITRATE
        is_redundant = self._has_red and self._is_heavy and not self._is_queueing and 2 * bitrate <= limit
        loss = ceil(self._loss * 100 / _LOSS_STEP) * _LOSS_STEP
        least = _LEAST_LOSS_WITH_FEC if self._has_fec else 0
        return EncoderSettings(
            bitrate=bitrate,
            expected_loss_percent=min(max(loss, least), _MOST_LOSS),
            has_fec=self._has_fec,
            has_dtx=self._asked.usedtx,
            is_cbr=self._asked.cbr,
            is_redundant=is_redundant,
        )


def _switched(is_on: bool, value: float, thresholds: tuple[float, float]) -> bool:
    """Return whether something is on, which ends below the first threshold and begins at the second."""
    return value >= thresholds[0] if is_on else value >= thresholds[1]
