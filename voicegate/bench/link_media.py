"""Media of a call that has no network and costs next to nothing: a voice that never ends, and a queue."""

from collections.abc import Mapping
from typing import Final, Literal, Unpack

import trio

from voicegate.call import (
    Agent,
    AgentReport,
    AudioFrame,
    AudioListener,
    Call,
    EncodedFrame,
    Interruption,
    OutputState,
    TurnModel,
)
from voicegate.channel import ChannelOptions, DataChannel, Message
from voicegate.errors import UsageError

__all__ = ["LinkMedia", "new_call"]

_FRAME_TICKS: Final = 960
_FRAME_MS: Final = 20
_PACKET: Final = bytes(80)
"""Of Opus: 32 kbit/s."""


class LinkMedia:
    """The `CallControl` of such a call."""

    def __init__(self) -> None:
        self.sample_rate = self.clock_rate = 48_000
        self.codec = "opus"
        self.heard = 0
        """Frames that the caller said."""
        self.answered = 0
        """Frames' worth of sound from the agent."""
        self._listener: AudioListener | None = None
        self._pcm = b""
        self._queued_ms = 0.0
        self._played_ms = 0

    def pass_frame(self) -> None:
        """Let 20 ms pass."""
        if self._queued_ms:
            self._queued_ms = max(self._queued_ms - _FRAME_MS, 0.0)
            self._played_ms += _FRAME_MS
        listener = self._listener
        self.heard += 1
        if listener is None:
            return
        if listener.is_encoded:
            listener.hear(
                EncodedFrame(_PACKET, _FRAME_TICKS, self.heard * _FRAME_TICKS & 0xFFFFFFFF, 20, True)
            )
        else:
            position = self.heard * self.sample_rate // 50
            listener.hear(AudioFrame(self._pcm, self.sample_rate, position, level=20, is_voice=True))

    # What a call asks of its media

    def use_rate(self, sample_rate: int) -> None:
        """Have PCM at another rate."""
        self.sample_rate = sample_rate
        self._pcm = bytes(sample_rate // 50 * 2)

    def set_listener(self, listener: AudioListener | None) -> None:
        """Let a listener hear."""
        self._listener = listener
        self.use_rate(self.sample_rate)

    def push_pcm(self, pcm: bytes, *, response_id: str | None) -> None:  # noqa: ARG002 - one is like another
        """Queue samples."""
        self._push(len(pcm) * 500 / self.sample_rate)

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None) -> None:  # noqa: ARG002
        """Queue a packet."""
        self._push(ticks / 48)

    def output_state(self) -> OutputState:
        """Return how things stand."""
        return OutputState(round(self._queued_ms), self._played_ms, None, is_paused=False)

    def _push(self, ms: float) -> None:
        self.answered += 1
        self._queued_ms += ms

    def clear(self) -> Interruption:
        """Drop what is queued."""
        self._queued_ms = 0.0
        return Interruption(self._played_ms, 0)

    def loop_back(self) -> None:
        """Not here."""

    def detect_speech(
        self,
        *,
        silence_ms: int,
        barge_in: bool,
        turn_model: TurnModel | None,
        detector: Literal["webrtc", "silero"],
    ) -> None:
        """Not here."""

    def end_turn(self) -> None:
        """Not here."""

    def pre_roll(self, ms: int) -> bytes:  # noqa: ARG002
        """Return nothing."""
        return b""

    def pause(self) -> None:
        """Not here."""

    def resume(self) -> None:
        """Not here."""

    def mark(self, name: str) -> None:
        """Not here."""

    def cancel_response(self, response_id: str) -> None:
        """Not here."""

    def report(self, event: AgentReport) -> None:
        """Not here."""

    def transfer(self, agent: Agent | str) -> None:
        """Not here."""

    def hang_up(self, *, after: Literal["now", "drain"]) -> None:
        """Not here."""


class _NoChannels:
    """The data channels of a client that offers none."""

    channels: Final[Mapping[int, DataChannel]] = {}
    is_closed = False
    is_offered = False

    def open_channel(self, label: str, **_options: Unpack[ChannelOptions]) -> DataChannel:
        raise UsageError(f"no channels, and so no {label!r}")

    def close_channel(self, channel_id: int) -> None:
        """There is none."""

    def send_message(self, channel_id: int, data: str | bytes) -> None:
        """There is no way."""

    def buffered(self, channel_id: int) -> int:  # noqa: ARG002
        return 0

    def take_message(self) -> Message | None:
        return None

    async def wait_progress(self) -> None:
        await trio.sleep_forever()


def new_call(number: int, *, form: Literal["opus", "pcm16"]) -> tuple[Call, LinkMedia]:
    """Make a call, and its media."""
    media = LinkMedia()
    return Call(f"rtc_{number}", control=media, metadata={"format": form}, link=_NoChannels()), media
