"""The relay's life, seen from the process that wants one: started, watched, restarted, ended.

A worker is a child process. When it dies, another is started on the same public address; calls go on,
since the clients' next connectivity checks (2.5 s apart in libwebrtc) find the new one.
"""

import itertools
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from typing import Final, cast

import attrs
import structlog
import trio

from voicegate.datagram import DatagramPort
from voicegate.errors import UsageError
from voicegate.relay.control import ControlChannel, ControlMessage, RelayConfig, RelayStatistics
from voicegate.relay.router import canonical
from voicegate.wire.path import Address

__all__ = ["Relay", "run_relay"]

_START_DEADLINE: Final = 20.0
"""Seconds for a worker to say that it is ready: an interpreter's start, on a machine that is busy."""

_STATISTICS_DEADLINE: Final = 1.0
"""Seconds for an answer: whoever scrapes figures must not hang on a dead relay."""

_FIRST_BACK_OFF: Final = 0.1
"""Seconds before a dead worker is replaced: short, since nobody hears anything meanwhile. Doubles each
time."""

_LAST_BACK_OFF: Final = 5.0
"""Seconds at which doubling ends."""

_STEADY_AFTER: Final = 30.0
"""Seconds of life that make a worker's death an accident again, and not the next of a series."""

_log = structlog.get_logger(__name__)


async def run_relay(
    config: RelayConfig, *, task_status: trio.TaskStatus["Relay"] = trio.TASK_STATUS_IGNORED
) -> None:
    """Keep a relay running, for ever; what ``nursery.start`` returns is its `Relay`.

    Errors: UsageError when the first worker can't start, such as for an address in use, which it names.
    Cancellation: kills the worker and waits for its end.
    """
    for address in config.public:
        # Sharing (SO_REUSEPORT) would let two relays split the traffic of one address without a word.
        DatagramPort(address, datagram_limit=1).close()
    relay = Relay(config)
    back_off = _FIRST_BACK_OFF
    while True:
        began_at = trio.current_time()
        cause = await relay.run_worker(task_status)
        if not relay.is_bound:
            raise UsageError(f"the relay cannot start: {cause}")
        if trio.current_time() - began_at > _STEADY_AFTER:
            back_off = _FIRST_BACK_OFF
        _log.error("relay_died", cause=cause, restart_in=back_off)
        await trio.sleep(back_off)
        back_off = min(2 * back_off, _LAST_BACK_OFF)


class Relay:
    """A running relay; the addresses, the list of transceivers and the counters."""

    def __init__(self, config: RelayConfig) -> None:
        self.is_bound = False
        """Whether a worker was ever ready, and the addresses below are real."""
        self.hop = config.hop
        """Where the present worker takes packets from transceivers; may change when a worker is replaced."""
        self.pid: int | None = None
        """The present worker's process id; None while there is none."""
        self.workers_started = 0
        """Workers that were ever ready; one more than deaths."""
        self._config = config
        self._transceivers: dict[int, Address] = {}
        self._numbers = itertools.count(1)
        self._waiting: dict[int, trio.MemorySendChannel[RelayStatistics]] = {}
        self._asked: list[int] = []
        self._wake = trio.Event()

    @property
    def public(self) -> tuple[Address, ...]:
        """Where clients send to; never changes once bound."""
        return tuple(self._config.public)

    def set_transceivers(self, transceivers: Mapping[int, Address]) -> None:
        """Replace the list of transceivers, id to hop address; this worker and each later one gets it.

        Errors: UsageError when an address isn't a literal one.
        """
        self._transceivers = {id_: canonical(address) for id_, address in transceivers.items()}
        self._wake.set()

    async def statistics(self) -> RelayStatistics | None:
        """Ask the worker for its counters; None when it doesn't answer within a second."""
        number = next(self._numbers)
        send, receive = trio.open_memory_channel[RelayStatistics](1)
        self._waiting[number] = send
        self._asked.append(number)
        self._wake.set()
        try:
            with trio.move_on_after(_STATISTICS_DEADLINE):
                return await receive.receive()
        finally:
            del self._waiting[number]
            if number in self._asked:
                self._asked.remove(number)
        return None

    async def run_worker(self, task_status: trio.TaskStatus["Relay"]) -> str:
        """Run one worker until it ends; return why it did. Only for `run_relay`."""
        async with trio.open_nursery() as nursery:
            # Its own process group: out of reach of the terminal's Ctrl-C from its first instruction on.
            process: trio.Process = await nursery.start(
                partial(
                    trio.run_process,
                    [sys.executable, "-m", "voicegate.relay"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    check=False,
                    deliver_cancel=_kill,
                    process_group=0,
                )
            )
            async with ControlChannel(cast("trio.abc.Stream", process.stdio)) as control:
                cause = await self._converse(control, process.pid, task_status)
            # Whatever ended the conversation, a worker that nobody talks to must not live on.
            nursery.cancel_scope.cancel()
        self.pid = None
        return cause or f"the worker ended with exit status {process.returncode}"

    # Internals

    async def _converse(
        self, control: ControlChannel, pid: int, task_status: trio.TaskStatus["Relay"]
    ) -> str | None:
        """Talk to a worker until it is gone; return why, unless only its exit status can tell."""
        try:
            await control.send(self._config.to_json())
            with trio.fail_after(_START_DEADLINE):
                reply = await control.receive()
        except trio.BrokenResourceError:
            return None
        except trio.TooSlowError:
            return f"the worker was not ready within {_START_DEADLINE:g} s"
        if reply is None:
            return None
        if "error" in reply:
            return str(reply["error"])
        self._adopt(reply["ready"], pid, task_status)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._feed, control, nursery.cancel_scope)
            while (message := await control.receive()) is not None:
                self._handle_answer(message)
            nursery.cancel_scope.cancel()
        return None

    def _adopt(self, ready: ControlMessage, pid: int, task_status: trio.TaskStatus["Relay"]) -> None:
        # What the kernel gave the first worker is in clients' hands: each later worker must have it.
        self._config = attrs.evolve(self._config, public=[(host, port) for host, port in ready["public"]])
        self.hop = (ready["hop"][0], ready["hop"][1])
        self.pid = pid
        self.workers_started += 1
        if not self.is_bound:
            self.is_bound = True
            task_status.started(self)

    async def _feed(self, control: ControlChannel, conversation: trio.CancelScope) -> None:
        """Tell a new worker what it must know, then each change; end the talk when it can't hear."""
        known: Mapping[int, Address] | None = None
        try:
            while True:
                # Taken before looking, so that a change during a send is seen in the next turn.
                wake = self._wake = trio.Event()
                if self._transceivers is not known:
                    known = self._transceivers
                    await control.send({"transceivers": known})
                while self._asked:
                    await control.send({"statistics": self._asked.pop()})
                await wake.wait()
        except trio.BrokenResourceError:
            conversation.cancel()

    def _handle_answer(self, message: ControlMessage) -> None:
        waiting = self._waiting.get(message["statistics"])
        if waiting is not None:
            waiting.send_nowait(RelayStatistics.from_json(message["relay"]))


async def _kill(process: trio.Process) -> None:
    """End a worker the short way: it has nothing to put in order."""
    process.kill()
