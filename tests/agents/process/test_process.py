"""Agents in processes of their own, naughty ones most of all, and calls that are played by hand."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from structlog.testing import capture_logs

from tests.agents.process.line import MODULE, SECOND, Line, open_line, wait_until
from tests.agents.process.test_session import frame
from tests.processes import children, command_of
from voicegate.agents.process import AgentProcessError, run_agent_process, sender
from voicegate.call import Agent
from voicegate.errors import UsageError

MARK = "voicegate.agents.process"

pytestmark = pytest.mark.slow


@asynccontextmanager
async def run_process(function: str) -> AsyncIterator[tuple[Agent, trio.Nursery]]:
    """Have an agent in a process, and a nursery for calls that ends before it."""
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            agent = await nursery.start(run_agent_process, f"{MODULE}:{function}")
            async with trio.open_nursery() as calls:
                yield agent, calls
                calls.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    assert not agents()


def agents() -> list[int]:
    """The processes of agents that are there."""
    return [pid for pid in children() if MARK in command_of(pid)]


async def test_an_agent_in_a_process_answers_many_calls() -> None:
    async with run_process("echo") as (agent, nursery):
        lines = [open_line(nursery, agent) for _ in range(20)]
        await wait_until(lambda: all(type(line.media.listener).__name__ == "_Ear" for line in lines))
        for number in range(25):
            for line in lines:
                line.media.hear(frame(number))
        spoken = b"".join(frame(number).pcm for number in range(25))
        for line in lines:
            await wait_until(lambda line=line: len(line.media.queue) == len(spoken))  # type: ignore[misc]
            assert line.media.queue == spoken
        assert len(agents()) == 1
        assert agent.__name__ == f"{MODULE}:echo"


async def test_an_agent_that_blocks_its_process_loses_nothing() -> None:
    async with run_process("blocks") as (agent, nursery):
        line = open_line(nursery, agent)
        await wait_until(lambda: type(line.media.listener).__name__ == "_Ear")
        for number in range(150):
            line.media.hear(frame(number))
        await wait_until(lambda: len(line.media.queue) == 3 * len(SECOND))


async def test_audio_for_a_process_that_does_not_read_is_dropped_and_nobody_waits() -> None:
    async with run_process("never_reads") as (agent, nursery):
        line = open_line(nursery, agent)
        await wait_until(line.report)
        [pid] = agents()
        os.kill(pid, signal.SIGSTOP)
        with capture_logs() as logs:
            for number in range(10_000):
                line.media.hear(frame(number))
                await trio.lowlevel.checkpoint()
            line.scope.cancel()
            await line.ended.wait()
        [log] = [log for log in logs if log["event"] == "agent process was behind"]
        # Some hundred are still in the kernel and in the outbox.
        assert 9000 < log["frames_dropped"] < 10_000


async def test_a_process_that_does_not_even_read_that_calls_are_over_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sender, "_CONTROL_LIMIT", 100_000)
    async with run_process("never_reads") as (agent, nursery):
        line = open_line(nursery, agent)
        await wait_until(line.report)
        [pid] = agents()
        os.kill(pid, signal.SIGSTOP)
        while not line.ended.is_set():
            other = open_line(nursery, agent, {"text": "x" * 10_000})
            await trio.lowlevel.checkpoint()
            other.scope.cancel()
            await other.ended.wait()
        assert str(line.error) == "it does not read what it is sent"
        await wait_until(lambda: agents() not in ([], [pid]))


async def test_an_agent_that_dies_ends_the_calls_it_had_and_is_there_for_later_ones() -> None:
    async with run_process("dies") as (agent, nursery):
        bystander = open_line(nursery, agent)
        await wait_until(bystander.report)
        [pid] = agents()
        bad = open_line(nursery, agent, {"mood": "bad"})
        for line in bad, bystander:
            await line.ended.wait()
            assert isinstance(line.error, AgentProcessError)
            assert str(line.error) == "the agent's process ended with exit status 3"
        later = open_line(nursery, agent)
        await wait_until(later.report)
        assert agents() != [pid]


async def test_a_process_that_is_killed_again_and_again_is_replaced_each_time() -> None:
    async with run_process("dies") as (agent, nursery):
        for _ in range(3):
            line = open_line(nursery, agent)
            await wait_until(line.report)
            [pid] = agents()
            os.kill(pid, signal.SIGKILL)
            await line.ended.wait()
            assert str(line.error) == "the agent's process ended with exit status -9"


async def test_ctrl_c_on_the_terminal_does_not_reach_agents() -> None:
    async with run_process("never_reads"):
        [pid] = agents()
        assert os.getpgid(pid) != os.getpgid(0)


async def test_a_process_that_blocks_for_ever_does_not_outlive_its_parent() -> None:
    async with run_process("blocks_for_ever") as (agent, nursery):
        line = open_line(nursery, agent)
        await wait_until(line.report)
        await trio.sleep(0.1)


async def test_what_an_agent_prints_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    async with run_process("shows_out") as (agent, nursery):
        line = open_line(nursery, agent)
        await line.ended.wait()
    printed = capfd.readouterr()
    assert "to the output" in printed.out
    assert "to the errors" in printed.err


BROKEN = {
    "missing": ("", "No module named 'missing'"),
    "empty": ("", r"no `async def agent\(call\)`"),
    "plain": ("def agent(call): pass", r"no `async def agent\(call\)`"),
    "wrong": ("1 / 0", "ZeroDivisionError"),
    "odd": ("async def agent(call:", "SyntaxError"),
    "leaving": ("import sys; sys.exit(5)", "SystemExit"),
    "dying": ("import os; os._exit(5)", "ended with exit status 5"),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_an_agent_that_can_not_be_had_is_refused_in_its_own_words(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, words = BROKEN[name]
    if name != "missing":
        (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(240):
        with pytest.raises(UsageError, match=words):
            await run_agent_process(f"{name}:agent")
    assert not agents()


async def test_an_agent_of_the_users_own_folder_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").write_text(
        "async def agent(call):\n    call.audio_out.mark(call.metadata['word'])\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            agent = await nursery.start(partial(run_agent_process, "mine:agent"))
            line = Line(word="hello")
            await line.run(agent)
            assert line.error is None
            nursery.cancel_scope.cancel()
