"""The ready agents, on a call whose slots are played by hand."""

import trio
from trio.testing import wait_all_tasks_blocked

from tests.line import Line
from voicegate.agents import echo, parrot, transcode
from voicegate.audio import open_codec
from voicegate.call import Agent
from voicegate.testing import sound

RATE = 8000
FRAME = 320


async def run(nursery: trio.Nursery, agent: Agent, codec: str = "PCMU") -> Line:
    line = Line(codec)
    nursery.start_soon(agent, line.call)
    await wait_all_tasks_blocked()
    return line


async def say(line: Line, heard: sound.Sound) -> bytes:
    """Speak, 20 ms at a time, and return what the agent says meanwhile."""
    pcm = heard.pcm
    answer = b""
    for offset in range(0, len(pcm) - FRAME + 1, FRAME):
        line.hear(pcm[offset : offset + FRAME])
        await wait_all_tasks_blocked()
        answer += line.play(1)
    return answer


async def test_echo_says_back_each_packet_as_it_came(nursery: trio.Nursery) -> None:
    line = await run(nursery, echo, "opus")
    assert line.wanted() == "encoded"
    for number in range(200):
        packet = b"\xf8" + number.to_bytes(2, "big")
        line.hear_packet(packet)
        assert line.play_slot() == [packet]
    nursery.cancel_scope.cancel()


async def test_echo_does_not_fall_behind_for_ever_after_a_stall(nursery: trio.Nursery) -> None:
    line = await run(nursery, echo)
    for number in range(50):  # a second of voice arrives while nothing can be played
        line.hear_packet(bytes([number]) * 160, 160)
    assert line.play_slot() == [bytes([46]) * 160]
    nursery.cancel_scope.cancel()


async def test_transcode_says_back_each_frame_at_once_and_does_not_fall_behind(nursery: trio.Nursery) -> None:
    line = await run(nursery, transcode)
    spoken = sound.speech_like(1.0, rate=RATE).pcm
    codec = open_codec("PCMU")
    for offset in range(0, len(spoken), FRAME):
        frame = spoken[offset : offset + FRAME]
        line.hear(frame)
        assert line.play_slot() == [codec.encode(frame)]
    for _ in range(50):
        line.hear(bytes(FRAME))
    assert line.call.audio_out.queued_ms == 80
    for _ in range(150):  # three seconds on, what nobody needed is gone
        line.hear(bytes(FRAME))
        line.play_slot()
    assert line.call.audio_out.queued_ms == 20
    nursery.cancel_scope.cancel()


async def test_parrot_waits_for_the_end_of_the_sentence_and_says_all_of_it(nursery: trio.Nursery) -> None:
    line = await run(nursery, parrot)
    assert not any(await say(line, sound.silence(0.5, rate=RATE)))
    sentence = sound.speech_like(2.0, rate=RATE)
    assert not any(await say(line, sentence)), "it must not talk over the user"
    answer = await say(line, sound.silence(4.0, rate=RATE))
    match = sound.correlate(sentence, sound.Sound.from_pcm(answer, rate=RATE))
    assert match.peak > 0.99
    nursery.cancel_scope.cancel()


async def test_parrot_falls_silent_when_it_is_interrupted(nursery: trio.Nursery) -> None:
    line = await run(nursery, parrot)
    await say(line, sound.speech_like(3.0, rate=RATE))
    assert any(await say(line, sound.silence(1.5, rate=RATE))), "it speaks"
    assert line.call.audio_out.queued_ms > 1000
    await say(line, sound.speech_like(0.4, seed=7, rate=RATE))
    assert line.call.audio_out.queued_ms == 0
    nursery.cancel_scope.cancel()


async def test_parrot_says_the_end_of_an_endless_sentence(nursery: trio.Nursery) -> None:
    line = await run(nursery, parrot)
    sentence = sound.speech_like(4.0, rate=RATE).pcm
    for _ in range(10):
        line.hear(sentence)
    line.hear(bytes(2 * RATE))
    await wait_all_tasks_blocked()
    assert 29_000 <= line.call.audio_out.queued_ms <= 30_000
    nursery.cancel_scope.cancel()
