import pytest
import trio
from trio.testing import MockClock

from tests.channels import NoChannels
from voicegate.audio import PlayoutQueue
from voicegate.call import AUDIO_IN_FRAMES, AudioFrame, Call, Connected

RATE = 48000


@pytest.fixture
def playout() -> PlayoutQueue:
    return PlayoutQueue(sample_rate=RATE)


@pytest.fixture
def call(playout: PlayoutQueue) -> Call:
    return Call("rtc_u0_x", playout=playout, sample_rate=RATE, metadata={}, link=NoChannels())


def frame(position: int) -> AudioFrame:
    return AudioFrame(bytes(1920), RATE, position)


async def play(playout: PlayoutQueue) -> None:
    """Pull in real time, as the transceiver does."""
    while True:
        await trio.sleep(0.02)
        playout.pull()


async def test_sending_waits_until_two_seconds_are_ahead(
    call: Call, playout: PlayoutQueue, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(play, playout)
    start = trio.current_time()
    await call.audio_out.send(bytes(2 * RATE * 5))
    assert trio.current_time() - start == pytest.approx(3.0, abs=0.05)


async def test_draining_waits_until_all_is_sent(
    call: Call, playout: PlayoutQueue, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    nursery.start_soon(play, playout)
    call.audio_out.send_nowait(bytes(2 * RATE))
    start = trio.current_time()
    await call.audio_out.drain()
    assert trio.current_time() - start == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("wait", ["drain", "send"])
async def test_waiting_for_a_last_sample_is_not_a_busy_wait(
    call: Call, wait: str, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    class Steps(trio.abc.Instrument):
        count = 0

        def before_task_step(self, task: trio.lowlevel.Task) -> None:
            self.count += 1

    call.audio_out.send_nowait(bytes(2) if wait == "drain" else bytes(2 * (2 * RATE + 1)))
    steps = Steps()
    trio.lowlevel.add_instrument(steps)
    with trio.move_on_after(1):  # nobody plays, as before the client is connected
        await (call.audio_out.drain() if wait == "drain" else call.audio_out.send(b""))
    trio.lowlevel.remove_instrument(steps)
    assert steps.count < 150


async def test_an_interruption_tells_what_was_heard_and_wakes_who_waits(
    call: Call, playout: PlayoutQueue, autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    call.audio_out.send_nowait(bytes(2 * RATE))
    for _ in range(50):
        playout.pull()
    call.audio_out.send_nowait(bytes(2 * RATE * 10))
    for _ in range(10):
        playout.pull()
    drained = trio.Event()

    async def wait() -> None:
        await call.audio_out.drain()
        drained.set()

    nursery.start_soon(wait)
    await trio.testing.wait_all_tasks_blocked()
    interruption = call.interrupt()
    with trio.fail_after(0.1):
        await drained.wait()
    assert interruption == (200, 9800), "the second that was heard before is another speech"
    assert call.audio_out.queued_ms == 0


def test_a_slow_agent_loses_the_oldest_frames(call: Call) -> None:
    for position in range(AUDIO_IN_FRAMES + 3):
        call.push_audio(frame(position))
    assert call.audio_in_dropped == 3
    assert call.audio_in.receive_nowait().position == 3


def test_an_agent_that_closed_its_ear_costs_nothing(call: Call) -> None:
    call.audio_in.close()
    call.events.close()
    call.push_audio(frame(0))
    call.push_event(Connected(1.0))
    assert call.audio_in_dropped == 1


def test_events_beyond_the_limit_are_dropped(call: Call) -> None:
    for _ in range(1000):
        call.push_event(Connected(1.0))
    assert call.events.statistics().current_buffer_used == call.events.statistics().max_buffer_size


async def test_the_agents_loop_ends_with_the_call(call: Call) -> None:
    call.push_audio(frame(0))
    call.close()
    with pytest.raises(trio.ClosedResourceError):
        await call.audio_in.receive()
