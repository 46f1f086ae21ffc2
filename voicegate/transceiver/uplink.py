"""The client's voice without any I/O: RTP packets in, frames of 20 ms for the agent out.

Drain rule: after each ``handle_*``, `Uplink.poll_frame` to None, then read `Uplink.poll_timeout`.
"""

from collections import Counter, deque

from voicegate.audio import Codec, Lost, ReceiveBuffer, Received
from voicegate.call import AudioFrame
from voicegate.errors import WireError
from voicegate.rtp import RtpPacket

__all__ = ["Uplink"]


class Uplink:
    """Receive buffer and decoder of one call."""

    def __init__(self, codec: Codec) -> None:
        self.frames_concealed = 0
        self._codec = codec
        self._receive = ReceiveBuffer(codec)
        self._frames: deque[AudioFrame] = deque()
        self._pcm = bytearray()
        self._position = 0
        self._drops: Counter[str] = Counter()

    # Input

    def handle_packet(self, packet: RtpPacket, *, now: float) -> None:
        """Take an authentic packet of the codec's."""
        self._receive.push(packet, now=now)
        self._pump()

    def handle_timeout(self, *, now: float) -> None:
        """Give up on packets that are overdue."""
        self._receive.handle_timeout(now)
        self._pump()

    # Output

    def poll_frame(self) -> AudioFrame | None:
        """Return the next 20 ms of the client's voice."""
        return self._frames.popleft() if self._frames else None

    def poll_timeout(self) -> float | None:
        """Return when `handle_timeout` is wanted."""
        return self._receive.poll_timeout()

    @property
    def drops(self) -> dict[str, int]:
        """Packets that went no further, by reason."""
        received = self._receive.statistics().dropped
        return {**self._drops, **{f"audio_{reason}": count for reason, count in received.items() if count}}

    # Internals

    def _pump(self) -> None:
        while (item := self._receive.poll()) is not None:
            match item:
                case Received(payload=payload):
                    try:
                        self._push_pcm(self._codec.decode(payload), is_concealed=False)
                    except WireError:
                        self._drops["codec"] += 1
                case Lost(samples=ticks, following=following):
                    samples = ticks * self._codec.sample_rate // self._codec.clock_rate
                    self._push_pcm(self._codec.conceal(samples, following=following), is_concealed=True)

    def _push_pcm(self, pcm: bytes, *, is_concealed: bool) -> None:
        """Cut decoded audio, of whatever packet time, into frames of 20 ms."""
        self._pcm += pcm
        size = 2 * self._codec.frame_samples
        while len(self._pcm) >= size:
            frame = bytes(self._pcm[:size])
            del self._pcm[:size]
            self._frames.append(AudioFrame(frame, self._codec.sample_rate, self._position, is_concealed))
            self._position += self._codec.frame_samples
            self.frames_concealed += is_concealed
