"""The target that is `DataChannels`: at the other end a genuine association does what a script wants.

Layer: core (sans-IO).
"""

import hashlib
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Final

from voicegate.datachannel import Channel, ChannelClosed, ChannelOpened, DataChannels
from voicegate.datachannel.channels import MAX_CHANNELS
from voicegate.datachannel.establishment import DataChannelOpen
from voicegate.errors import UsageError
from voicegate.sctp import MessageReceived, SctpAssociation
from voicegate.testing.script import Step, drain, read_script, require, settle

__all__ = ["run_data_channels"]

_ESTABLISHMENT: Final = 50
_MAX_ROUNDS: Final = 64
"""How often the two ends may answer each other at one time."""
_MAX_PEER_MESSAGE: Final = 1000


def run_data_channels(script: bytes) -> None:
    """Kind 0: a datagram from anybody. 1-3 and 8: the peer does something, 4-7: we do; see `_Run`.

    9: what is on its way is lost. 10: it comes in reverse order. Others: time passes.
    """
    run = _Run()
    for step in read_script(script):
        run.take(step)
    run.end()


class _Run:
    """We, the peer, and what we have been told of channels so far."""

    def __init__(self) -> None:
        self._peer = _association(0)
        self._core = DataChannels(_association(1), is_dtls_client=False, max_message_size=_MAX_PEER_MESSAGE)
        self._known: dict[int, Channel] = {}
        self._is_reading = True
        self._now = 0.0
        self._peer.start(now=0.0)
        self._exchange(0)

    def take(self, step: Step) -> None:
        """Do what a step says; the datagrams that belong to it pass."""
        self._now = step.now
        settle(self._peer, now=step.now)
        settle(self._core, now=step.now)
        if step.kind == 0:
            self._core.handle_datagram(step.data, now=step.now)
        # A script may ask of either end what no application may.
        with suppress(UsageError):
            number, rest = int.from_bytes(step.data[:2], "big"), step.data[2:]
            if step.kind in (1, 2, 3, 8):
                self._move_peer(step.kind, number, rest)
            elif step.kind in (4, 5, 6, 7):
                self._move(step.kind, number, rest)
        self._exchange(step.kind)

    def end(self) -> None:
        """End the association."""
        self._is_reading = True
        self._core.close(now=self._now)
        self._exchange(0)
        require(not self._known, "every channel that was told of is told to be closed")
        require(self._core.poll_timeout() is None, "what is over wants nothing more")

    def _move_peer(self, kind: int, number: int, rest: bytes) -> None:
        """1: it sends ``rest`` under its first byte. 2: it opens a channel. 3: resets streams. 8: ends."""
        if kind == 1:
            self._peer.send(number, rest[0] if rest else 0, rest[1:] or b"\0", now=self._now)
        elif kind == 2:
            label = rest[1:].decode(errors="replace")
            data = DataChannelOpen(channel_type=rest[0] if rest else 0, label=label).encode()
            self._peer.send(number, _ESTABLISHMENT, data, now=self._now)
        elif kind == 3:
            others = [int.from_bytes(rest[i : i + 2], "big") for i in range(0, len(rest), 2)]
            self._peer.reset_streams([number, *others], now=self._now)
        else:
            self._peer.abort(now=self._now)

    def _move(self, kind: int, number: int, rest: bytes) -> None:
        """4: we open a channel, negotiated if there is a ``rest``. 5: send. 6: close. 7: read, or don't."""
        if kind == 4:
            channel = self._core.open(
                now=self._now, is_ordered=not number & 1, negotiated_id=number if rest else None
            )
            require(channel.id not in self._known, "a number is free when it is given away")
            self._known[channel.id] = channel
        elif kind == 5:
            self._core.send(number, rest, now=self._now)
        elif kind == 6:
            self._core.close_channel(number, now=self._now)
            require(number not in self._core.channels, "what is closed is not open")
        else:
            self._is_reading = not self._is_reading

    def _exchange(self, kind: int) -> None:
        """Let datagrams pass until nobody has more to say."""
        for _ in range(_MAX_ROUNDS):
            self._observe()
            while (event := self._peer.poll_event()) is not None:
                if isinstance(event, MessageReceived):
                    self._peer.consume(len(event.data))
            down, up = (
                drain(iter(self._peer.poll_transmit, None)),
                drain(iter(self._core.poll_transmit, None)),
            )
            if kind == 9 or not (down or up):
                return
            for data in reversed(down) if kind == 10 else down:
                self._core.handle_datagram(data, now=self._now)
            for data in reversed(up) if kind == 10 else up:
                self._peer.handle_datagram(data, now=self._now)

    def _observe(self) -> None:
        """Take what we are told, and see that it makes sense."""
        self._take_events()
        while self._is_reading and (message := self._core.poll_message()) is not None:
            require(message.channel_id in self._known, "messages are of channels that were told of")
        self._take_events()
        channels = self._core.channels
        require(channels.items() <= self._known.items(), "open channels have been told of")
        require(len(channels) <= MAX_CHANNELS, "channels are bounded")

    def _take_events(self) -> None:
        while (event := self._core.poll_event()) is not None:
            if isinstance(event, ChannelOpened) and event.is_remote:
                require(event.channel.id not in self._known, "a channel is opened once")
                self._known[event.channel.id] = event.channel
            elif isinstance(event, ChannelOpened):
                require(event.channel in self._known.values(), "our channels are the ones that we opened")
            elif isinstance(event, ChannelClosed):
                closed = self._known.pop(event.channel.id, None)
                require(closed == event.channel, "a channel that is closed was open, or being opened")


def _association(seed: int) -> SctpAssociation:
    return SctpAssociation(random=_random(seed), now=0.0, streams=16)


def _random(seed: int) -> Callable[[int], bytes]:
    """Make randomness that is the same each time."""
    numbers = count()
    return lambda length: hashlib.shake_128(f"{seed} {next(numbers)}".encode()).digest(length)
