"""The ready agents, with real voice detection and a playout queue that a test pulls by hand."""

import trio
from trio.testing import wait_all_tasks_blocked

from tests.channels import NoChannels
from voicegate.agents import echo, parrot
from voicegate.audio import PlayoutQueue
from voicegate.call import Agent, AudioFrame, Call
from voicegate.testing import sound

RATE = 48000
FRAME = 960


class Line:
    """A call without a network: what the user says goes in, what the agent says is pulled out."""

    def __init__(self) -> None:
        self.playout = PlayoutQueue(sample_rate=RATE)
        self.call = Call("rtc_u0_x", playout=self.playout, sample_rate=RATE, metadata={}, link=NoChannels())
        self.position = 0

    async def say(self, heard: sound.Sound) -> bytes:
        """Speak, 20 ms at a time, and return what the agent says meanwhile."""
        pcm = heard.pcm
        answer = b""
        for offset in range(0, len(pcm) - 2 * FRAME + 1, 2 * FRAME):
            self.call.push_audio(AudioFrame(pcm[offset : offset + 2 * FRAME], RATE, self.position))
            self.position += FRAME
            await wait_all_tasks_blocked()
            answer += self.playout.pull() or b""
        return answer


async def run(nursery: trio.Nursery, agent: Agent) -> Line:
    line = Line()
    nursery.start_soon(agent, line.call)
    await wait_all_tasks_blocked()
    return line


async def test_echo_says_back_each_frame_at_once(nursery: trio.Nursery) -> None:
    line = await run(nursery, echo)
    spoken = sound.speech_like(1.0)
    assert await line.say(spoken) == spoken.pcm
    nursery.cancel_scope.cancel()


async def test_parrot_waits_for_the_end_of_the_sentence_and_says_all_of_it(nursery: trio.Nursery) -> None:
    line = await run(nursery, parrot)
    assert await line.say(sound.silence(0.5)) == b""
    sentence = sound.speech_like(2.0)
    assert await line.say(sentence) == b"", "it must not talk over the user"
    answer = await line.say(sound.silence(4.0))
    match = sound.correlate(sentence, sound.Sound.from_pcm(answer, rate=RATE))
    assert match.peak > 0.99
    nursery.cancel_scope.cancel()


async def test_parrot_falls_silent_when_it_is_interrupted(nursery: trio.Nursery) -> None:
    line = await run(nursery, parrot)
    await line.say(sound.speech_like(3.0))
    assert await line.say(sound.silence(1.5)), "it speaks"
    assert line.playout.queued_samples > RATE
    await line.say(sound.speech_like(0.4, seed=7))
    assert line.playout.queued_samples == 0
    nursery.cancel_scope.cancel()


async def test_echo_does_not_fall_behind_for_ever_after_a_stall(nursery: trio.Nursery) -> None:
    line = await run(nursery, echo)
    for _ in range(50):  # a second of voice arrives while nothing can be played
        line.call.push_audio(AudioFrame(bytes(2 * FRAME), RATE, 0))
        await wait_all_tasks_blocked()
    assert line.call.audio_out.queued_ms <= 80
    nursery.cancel_scope.cancel()
