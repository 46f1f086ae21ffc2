"""Agents as they should not be, and some that only show what they see, by marks and by PCM."""

import os
import sys
import time

import trio

from voicegate.call import (
    AudioFrame,
    Call,
    ChannelClosed,
    ChannelOpened,
    EncodedFrame,
)

SECOND = bytes(2 * 48_000)


async def echo(call: Call) -> None:
    async for frame in call.audio_in:
        call.audio_out.send_nowait(frame.pcm)


async def blocks(call: Call) -> None:
    """Echo, but keep the process to itself for a fifth of each second."""
    async for frame in call.audio_in:
        call.audio_out.send_nowait(frame.pcm)
        if frame.position % 48_000 == 0:
            time.sleep(0.2)  # noqa: ASYNC251


async def blocks_for_ever(call: Call) -> None:
    call.audio_out.mark("blocked")
    await trio.sleep(0.05)
    time.sleep(1000)  # noqa: ASYNC251


async def raises(call: Call) -> None:
    if call.metadata.get("mood") == "bad":
        raise RuntimeError("no")
    await trio.sleep_forever()


async def raises_two(call: Call) -> None:
    raise ExceptionGroup("both", [RuntimeError("one"), ValueError("two")])


async def floods(call: Call) -> None:
    """Say ten minutes at once; fall silent when anything is heard."""
    call.audio_out.send_nowait(SECOND * 600)
    await call.audio_in.receive()
    interruption = call.interrupt()
    call.audio_out.mark(f"{interruption.heard_ms} heard, {interruption.dropped_ms} dropped")
    await trio.sleep_forever()


async def never_reads(call: Call) -> None:
    call.audio_out.mark("here")
    await trio.sleep_forever()


async def returns(call: Call) -> None:
    return


async def dies(call: Call) -> None:
    if call.metadata.get("mood") == "bad":
        os._exit(3)
    call.audio_out.mark("alive")
    await trio.sleep_forever()


async def exits(call: Call) -> None:
    sys.exit("enough")


async def says_goodbye(call: Call) -> None:
    call.audio_out.send_nowait(SECOND * 6)
    call.hangup("drain")


async def commands(call: Call) -> None:
    """Use all there is."""
    call.use_rate(16_000)
    call.detect_speech(silence_ms=300, barge_in=False, detector="silero")
    call.audio_out.send_nowait(b"12", response_id="r")
    call.audio_out.send_packet_nowait(b"opus", 960, response_id="r")
    call.audio_out.pause()
    call.audio_out.resume()
    call.audio_out.cancel_response("other")
    call.end_turn()
    call.loop_back()
    call.hangup()
    await trio.sleep_forever()


async def too_late(call: Call) -> None:
    call.audio_out.send_nowait(b"12")
    await trio.sleep(0.05)
    call.use_rate(16_000)
    await trio.sleep_forever()


class PacketEar:
    is_encoded = True

    def __init__(self, call: Call) -> None:
        self._call = call

    def hear(self, frame: AudioFrame | EncodedFrame) -> None:
        assert isinstance(frame, EncodedFrame)
        self._call.audio_out.send_packet_nowait(frame.payload, frame.ticks)
        if frame.payload == b"bad":
            raise ValueError("a bad packet")


async def echo_packets(call: Call) -> None:
    assert (call.codec, call.clock_rate) in {("opus", 48_000), ("pcmu", 8000)}
    call.listen(PacketEar(call))
    await trio.sleep_forever()


async def loops_back(call: Call) -> None:
    call.loop_back()
    await trio.sleep_forever()


async def obeys(call: Call) -> None:
    """Do what the client's messages say."""
    async for message in call.messages:
        match message.data:
            case "return":
                return
            case "raise":
                raise RuntimeError("as you wish")
            case "die":
                os._exit(3)
            case "hang up":
                call.audio_out.send_nowait(SECOND[:9600])
                call.hangup("drain")
            case "flood":
                call.audio_out.send_nowait(SECOND * 600)
            case "interrupt":
                interruption = call.interrupt()
                await message.channel.send(f"{interruption.heard_ms + interruption.dropped_ms}")
            case data:
                await message.channel.send(data)


async def deaf(call: Call) -> None:
    call.audio_in.close()
    call.audio_out.mark("closed")
    await trio.sleep_forever()


async def tells_events(call: Call) -> None:
    async for event in call.events:
        match event:
            case ChannelOpened(channel=channel) | ChannelClosed(channel=channel):
                call.audio_out.mark(f"{type(event).__name__} {channel.label}")
            case _:
                call.audio_out.mark(repr(event))


async def drains(call: Call) -> None:
    await call.audio_out.send(SECOND[:9600])
    await call.audio_out.drain()
    call.audio_out.mark("drained")
    await trio.sleep_forever()


async def says_messages_back(call: Call) -> None:
    async for message in call.messages:
        await message.channel.send(message.data)
    call.audio_out.mark("over")


async def reads_one_message(call: Call) -> None:
    await call.messages.receive()
    await trio.sleep_forever()


async def sends_messages(call: Call) -> None:
    channel = call.open_channel("mine", protocol="p")
    agreed = call.open_channel("agreed", negotiated_id=7)
    channel.send_nowait("first")
    agreed.send_nowait(b"second")
    call.audio_out.mark(f"{channel.buffered_bytes} bytes on {channel.id}")
    while channel.buffered_bytes:
        await trio.sleep(0.001)
    channel.close()
    agreed.send_nowait("too long")
    await trio.sleep_forever()


async def shows_out(call: Call) -> None:
    print("to the output", flush=True)  # noqa: T201
    print("to the errors", file=sys.stderr, flush=True)  # noqa: T201


def plain(call: Call) -> None:
    return
