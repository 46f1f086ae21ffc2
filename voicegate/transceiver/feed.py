"""What the engine touches of a call with every packet: RTP in, frames out. All else is `ActiveCall`'s.

It is apart because it is compiled, and small, so that hundreds of calls find their way through the caches.
For the same reason whatever is on a packet's way sets first in ``__init__`` what each packet touches, which
when compiled lies together, and keeps beside it in a flag whether a queue has anything: most are empty.
"""

from collections.abc import Sequence
from typing import Final

from voicegate.call import AudioFrame
from voicegate.transceiver.control import MediaControl
from voicegate.transceiver.core import CallCore
from voicegate.transceiver.lateness import Lateness
from voicegate.wire import Path, hop
from voicegate.wire.path import Address

__all__ = ["CallFeed"]


class CallFeed:
    """The short way of audio through a call.

    What its methods raise is a fault of ours, which is to end this call and no other.
    """

    def __init__(self, core: CallCore, control: MediaControl) -> None:
        self._core: Final = core
        self._control: Final = control
        self.has_news = False
        """Whether `ActiveCall.follow` has something to hand on, as of the last method."""
        self.relay: Address = ("", 0)
        """Where `next_packets` go: the hop address of the relay on the present path."""
        self.key = b""
        """What stands there for the client in the header of each packet."""
        self._path: Path | None = None
        self.lateness: Final = Lateness()
        """Of its frames, as the engine measures them."""
        self.deadline: float | None = None
        """When the engine's schedule has the call's `handle_timeout`."""
        self.frame_seconds: float | None = None
        """What the engine's schedule has its frames at."""

    def handle_rtp(self, data: bytes, *, path: Path, now: float) -> bool:
        """Feed the core an RTP packet and hand on what is heard; return whether the call is to be settled."""
        core, control = self._core, self._control
        is_touched = core.handle_rtp(data, path=path, now=now)
        media = core.media
        uplink = media.uplink
        self.has_news = False
        while (frame := uplink.poll_frame()) is not None:
            control.handle_frame(frame, now=now)
            if type(frame) is AudioFrame:  # What comes of packets that nobody decodes can wait for the slot.
                self.has_news = control.look()
        if is_touched or (uplink.poll_timeout() is None and not media.has_feedback):
            return is_touched
        due = media.poll_timeout()
        return due is not None and (self.deadline is None or due < self.deadline)

    def next_packets(self, *, missed: int, now: float) -> Sequence[bytes]:
        """Return the packets of the slot that has begun; they go to `relay` for the client of `key`."""
        core = self._core
        packets = core.next_packets(missed=missed, now=now)
        self.has_news = self._control.look()
        path = core.path
        if path is not None and path is not self._path:
            self._path, self.relay = path, path.relay
            self.key = hop.client_key(host=path.host, port=path.port, is_stream=path.is_stream)
        return packets
