"""The agent's voice without any I/O or clock: what is queued comes out as payloads, slot by slot.

Two kinds of sound go in: speech, which waits for its turn and of which nothing may be lost, and live packets
that are passed through, which go on in their own time. Speech goes first.

Drain rule: in each slot `Downlink.next_payload` until `Downlink.is_slot_over`, `Downlink.note_sent` for each
packet that left, then `Downlink.poll_mark` to None.
"""

from collections import deque
from typing import Final, NamedTuple

from voicegate.audio import Codec
from voicegate.audio.heard import HeardSpeech
from voicegate.audio.live import LiveQueue
from voicegate.audio.pcm import SAMPLE_BYTES
from voicegate.audio.playout import Packet, PlayedMark, PlayoutQueue, Speech
from voicegate.call import Interruption, MarkPlayed, OutputState
from voicegate.errors import UsageError
from voicegate.sdp import AudioParameters
from voicegate.transceiver.output import OutputWatch

__all__ = ["Downlink", "DownlinkStatistics"]

_TRAILING_SILENCE_FRAMES: Final = 10
"""Silent frames that are encoded after speech, so that the codec's state fades; then a canned one repeats.

With DTX the codec goes on: only it knows when a packet is due."""

_MARKS_KEPT: Final = 64
"""Marks for a client that only sends, until they are polled."""


class DownlinkStatistics(NamedTuple):
    """What was never played, by reason."""

    overflow_ms: int
    """The oldest of more than a minute that was queued."""
    discarded_ms: int
    """Late pieces of cancelled responses, and all for a client that only sends."""
    live_dropped: int
    """Packets that passed through too late."""


class Downlink:
    """Playout and encoder of one call.

    A client that only sends hears nothing, so nothing is queued for it: all is discarded and counted.
    """

    def __init__(self, audio: AudioParameters, codec: Codec) -> None:
        self._audio = audio
        self._codec = codec
        self.is_slot_over = True
        """Whether the present slot is full; else `next_payload` has more for it: short packets."""
        self._is_sending = audio.is_sending
        self._is_silent = True
        self.slot_ticks: Final = audio.clock_rate * audio.frame_ms // 1000
        """Length of a slot on the media clock."""
        self._room = 0
        """Ticks of the present slot not filled yet; below zero, a long packet reaches into later ones."""
        self.live: Final = LiveQueue(clock_rate=audio.clock_rate)
        self.playout = self._open_playout()
        self._sounding: Speech | None = None
        self.watch: OutputWatch | None = None
        """Tells a session what the client hears, if there is one."""
        self.answered_at: float | None = None
        """When speech first left, since somebody who wanted to know it made this None."""
        self.slot_seconds: Final = audio.frame_ms / 1000
        self._has_dtx = audio.fmtp.get("usedtx") == "1"
        self._heard = HeardSpeech()
        self._quiet_frame = bytes(SAMPLE_BYTES * codec.sample_rate * audio.frame_ms // 1000)
        self._trailing_frames = 0
        self._has_encoded = False
        self._unheard_ms = 0
        self._unheard_marks: deque[PlayedMark] = deque(maxlen=_MARKS_KEPT)

    # Commands

    def use_rate(self, sample_rate: int) -> None:
        """Take PCM at another rate.

        Errors: UsageError when it is none of 8000, 16000, 24000, 48000, or while audio is queued.
        """
        if sample_rate == self._codec.sample_rate:
            return
        if self.playout.queued_samples:
            raise UsageError("the sample rate is to be chosen before any audio is sent")
        self._codec.use_rate(sample_rate)
        self.playout = self._open_playout()
        self._heard = HeardSpeech()
        if self.watch is not None:
            self.watch = None
            self.follow()
        self._quiet_frame = bytes(SAMPLE_BYTES * sample_rate * self._audio.frame_ms // 1000)

    def push_pcm(self, pcm: bytes, *, response_id: str | None = None) -> None:
        """Queue speech: samples of any length.

        Errors: UsageError when the last sample is incomplete.
        """
        if self._is_sending:
            self.playout.push(pcm, response_id=response_id)
        else:
            self._unheard_ms += len(pcm) * 500 // self._codec.sample_rate

    def push_packet(self, payload: bytes, ticks: int, *, response_id: str | None = None) -> None:
        """Queue speech: a payload that is so long on the media clock.

        Errors: UsageError unless it takes time.
        """
        if self._is_sending:
            self.playout.push_packet(payload, ticks, response_id=response_id)
        else:
            self._unheard_ms += ticks * 1000 // self._audio.clock_rate

    def push_live(self, payload: bytes, ticks: int, *, is_quiet: bool = False) -> None:
        """Pass a packet through; an empty one stands for a loss."""
        if self._is_sending:
            self.live.push(payload, ticks, is_quiet=is_quiet)

    def mark(self, name: str) -> None:
        """Have `poll_mark` tell when all that was pushed before has been played."""
        if self._is_sending:
            self.playout.mark(name)
        else:
            self._unheard_marks.append(PlayedMark(name, 0))

    def pause(self) -> None:
        """Fall silent from the next slot on, and keep the speech that is queued."""
        self.playout.pause()

    def resume(self) -> None:
        """Go on with the very sample at which `pause` came."""
        self.playout.resume()

    def clear(self, *, now: float) -> Interruption:
        """Fall silent from the next slot on, and drop all that is queued and what still comes of it."""
        speech = self.playout.speech
        heard_ms = self._heard_ms(speech, now)
        self.live.clear()
        interruption = Interruption(heard_ms, self._milliseconds(self.playout.clear()))
        if self.watch is not None:
            self.watch.note_dropped(speech, heard_ms=heard_ms, dropped_ms=interruption.dropped_ms)
        return interruption

    def cancel_response(self, response_id: str, *, now: float) -> None:
        """Drop what is queued of a response, and what still comes of it."""
        speech = self.playout.speech
        heard_ms = self._heard_ms(speech, now) if speech.response_id == response_id else 0
        dropped_ms = self._milliseconds(self.playout.cancel(response_id))
        if self.watch is not None and speech.response_id == response_id:
            self.watch.note_dropped(speech, heard_ms=heard_ms, dropped_ms=dropped_ms)

    def refuse_response(self, response_id: str) -> None:
        """Drop what still comes of a response; what is queued is played."""
        self.playout.refuse(response_id)

    def follow(self) -> None:
        """Have a `watch` from now on."""
        if self.watch is None:
            self.watch = OutputWatch(sample_rate=self._codec.sample_rate, slot_seconds=self.slot_seconds)

    def skip(self, slots: int) -> int:
        """Let slots go by that a stall of the process ate: speech is only later, live packets are dropped.

        Returns the ticks for which nothing was sent: fewer when a long packet went on meanwhile.
        """
        self.live.skip(slots * self.slot_ticks)
        ticks = slots * self.slot_ticks
        covered = min(ticks, max(0, -self._room))
        self._room += covered
        return ticks - covered

    def note_sent(self, sequence_number: int, *, now: float) -> None:
        """The packet with the last payload has left."""
        if self._sounding is not None:
            self._heard.note_sent(sequence_number, self._sounding, now=now)
            if self.watch is not None:
                self.watch.note_sent(self._sounding)
            self._sounding = None
            if self.answered_at is None:
                self.answered_at = now

    def set_round_trip(self, seconds: float) -> None:
        """The way to the client and back takes so long, as ICE or RTCP measure it."""
        self._heard.set_round_trip(seconds)

    def handle_report(self, *, highest_sequence: int, round_trip: float | None, now: float) -> None:
        """The client says which of our packets was the last to arrive."""
        self._heard.handle_report(highest_sequence=highest_sequence, round_trip=round_trip, now=now)

    # Output

    def next_payload(self) -> tuple[bytes, int, bool]:
        """Take what leaves now: at the beginning of a slot, and again until `is_slot_over`.

        Returns the payload of one RTP packet, empty when nothing is sent; how long it is on the media clock;
        and whether speech begins with it, so that the packet is to be marked (RFC 3551 §4.1).
        """
        if self.is_slot_over:
            self._room += self.slot_ticks
        elif not self._has_short_packet():
            ticks, self._room, self.is_slot_over = self._room, 0, True
            return b"", ticks, False
        if self.is_slot_over and self._room < self.slot_ticks:
            return b"", 0, False  # A long packet goes on.
        live = self.live
        if live.packets and self.playout.is_idle:
            payload, ticks = live.pull()
            return self._leave(payload, ticks)
        piece = self.playout.pull()
        live.skip(self.slot_ticks)
        if piece is None:
            return self._be_silent()
        self._sounding = self.playout.latest
        if isinstance(piece, Packet):
            self._trailing_frames = 0
            return self._leave(piece.payload, piece.ticks)
        self._trailing_frames = _TRAILING_SILENCE_FRAMES
        self._has_encoded = True
        return self._leave(self._codec.encode(piece), self.slot_ticks)

    def poll_mark(self) -> MarkPlayed | None:
        """Return the next mark that has been reached."""
        if self._is_sending:
            mark = self.playout.poll_mark()
        else:
            mark = self._unheard_marks.popleft() if self._unheard_marks else None
        return MarkPlayed(mark.name, self._milliseconds(mark.played_samples)) if mark is not None else None

    def output_state(self, *, now: float) -> OutputState:
        """Return how things stand."""
        speech = self.playout.speech
        return OutputState(
            queued_ms=-self._milliseconds(-self.playout.queued_samples),
            heard_ms=self._heard_ms(speech, now),
            response_id=speech.response_id,
            is_paused=self.playout.is_paused,
        )

    def statistics(self) -> DownlinkStatistics:
        """Return the counts."""
        return DownlinkStatistics(
            overflow_ms=self._milliseconds(self.playout.dropped_samples),
            discarded_ms=self._milliseconds(self.playout.discarded_samples) + self._unheard_ms,
            live_dropped=self.live.dropped,
        )

    # Internals

    def _leave(self, payload: bytes, ticks: int) -> tuple[bytes, int, bool]:
        self._room = room = self._room - ticks
        self.is_slot_over = room <= 0
        is_onset = self._is_silent
        if is_onset and payload:
            self._is_silent = False
        return payload, ticks, is_onset

    def _be_silent(self) -> tuple[bytes, int, bool]:
        self._is_silent = True
        if self.watch is not None:
            self.watch.note_silence(is_idle=self.playout.is_idle)
        self._room -= self.slot_ticks
        self.is_slot_over = self._room <= 0
        if self._trailing_frames or (self._has_dtx and self._has_encoded):
            self._trailing_frames = max(0, self._trailing_frames - 1)
            payload = self._codec.encode(self._quiet_frame)
        else:
            payload = self._codec.encode_silence(self.slot_ticks)
        return payload, self.slot_ticks, False

    def _has_short_packet(self) -> bool:
        """Tell whether the next packet goes into what is left of this slot."""
        queue = self.live if self.playout.is_idle else self.playout
        return queue.next_ticks is not None and queue.next_ticks <= self._room

    def _open_playout(self) -> PlayoutQueue:
        return PlayoutQueue(
            sample_rate=self._codec.sample_rate,
            clock_rate=self._codec.clock_rate,
            frame_ms=self._audio.frame_ms,
        )

    def _milliseconds(self, samples: int) -> int:
        return samples * 1000 // self._codec.sample_rate

    def _heard_ms(self, speech: Speech, now: float) -> int:
        return self._milliseconds(self._heard.samples(speech, now=now))
