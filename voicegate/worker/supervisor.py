"""The workers' life, seen from the process that wants them.

Each is a child process with a transceiver of its own, kept running by a `Keeper`. They share one HTTP address
(SO_REUSEPORT), and whichever is asked can answer: a call's id tells its owner (`voicegate.worker.shared`),
and what concerns all is answered here. When one dies, its calls are over; the relay drops what their clients
still send, and the next worker begins anew, with another transceiver id.
"""

import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeVar, Unpack

import attrs
import trio

from voicegate.access import Grant, share
from voicegate.child.channel import ControlChannel, ControlMessage
from voicegate.child.keeper import Keeper, start_keepers
from voicegate.child.reserve import Reserve
from voicegate.config import Address, Config
from voicegate.directory import Directory
from voicegate.errors import UsageError
from voicegate.observability import Metrics, logging_settings
from voicegate.sdp import Candidate
from voicegate.signalling import (
    JSON,
    CreatedCall,
    RemoteCalls,
    RequestRefused,
    hold_address,
    serve_privately,
)
from voicegate.signalling.api import unknown_call
from voicegate.signalling.remote import no_worker
from voicegate.signalling.service import CallTerms, Handshake
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker.calls import is_for_others, new_transceiver_id
from voicegate.worker.control import WorkerSettings, server_socket, worker_socket

if TYPE_CHECKING:
    from voicegate.ice import Credentials
    from voicegate.relay import Relay
    from voicegate.transceiver.task import ActiveCall

__all__ = ["Workers", "run_workers"]

_T = TypeVar("_T")

_START_SECONDS: Final = 90.0
"""For a worker to be ready: some agents load a model first."""

_ANSWER_SECONDS: Final = 2.0
"""For a worker to answer us: whoever asked us waits for five, and should hear from the others at least."""

_PATIENCE: Final = 5.0
"""Seconds for a worker to say goodbye to its calls and end."""


async def run_workers(
    config: Config,
    *,
    secrets: Sequence[bytes],
    candidates: Sequence[Candidate],
    hop_host: str,
    directory: Directory,
    relay: "Relay",
    task_status: trio.TaskStatus["Workers"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep ``config.workers`` workers running, for ever; what ``nursery.start`` returns is their `Workers`.

    Args:
        config: The server's.
        secrets: Those that credentials are made of.
        candidates: The relay's addresses, as answers list them.
        hop_host: The local address on which transceivers and the relay meet.
        directory: Where the workers' transceivers are announced.
        relay: The one in front of them.
        task_status: Told once all are ready.

    Errors: UsageError when they can't start, such as for an address in use, which it names.
    Cancellation: lets the workers say goodbye to their calls, and waits for their end.
    """
    with await hold_address(config.http.host, config.http.port) as held, _folder() as folder:
        http = Address(*held.getsockname()[:2])
        settings = WorkerSettings(
            number=0,
            count=config.workers,
            transceiver_id=0,
            config=attrs.evolve(config, http=http),
            secrets=secrets,
            hop_host=hop_host,
            candidates=candidates,
            folder=Path(folder),
            import_path=sys.path,
            logging=logging_settings(),
        )
        async with trio.open_nursery() as nursery:
            reserve = Reserve(nursery, "voicegate.worker", patience=_PATIENCE)
            keepers = [
                _WorkerKeeper(number, settings, directory, reserve=reserve)
                for number in range(config.workers)
            ]
            workers = Workers(keepers, relay, http=http, agent_name=config.agent)
            await nursery.start(serve_privately, workers, server_socket(settings.folder))
            causes = await start_keepers(nursery, keepers)
            if not causes:
                task_status.started(workers)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    raise UsageError(causes[0])


def _folder() -> "TemporaryDirectory[str]":
    """Make a folder that nobody else can look into."""
    return TemporaryDirectory(prefix="voicegate-", ignore_cleanup_errors=True)


class Workers:
    """The running workers, as one `CallService`."""

    def __init__(
        self, keepers: "Sequence[_WorkerKeeper]", relay: "Relay", *, http: Address, agent_name: str
    ) -> None:
        self.http: Final = http
        """The address that they share."""
        self.agent_name: Final = agent_name
        self._keepers = keepers
        self._relay = relay

    @property
    def pids(self) -> list[int]:
        """The process ids of the workers that are there now."""
        return [keeper.pid for keeper in self._keepers if keeper.pid is not None]

    @property
    def workers_started(self) -> int:
        """Workers that were ever ready."""
        return sum(keeper.workers_started for keeper in self._keepers)

    async def create_call(self, offer: str, **terms: Unpack[CallTerms]) -> CreatedCall:
        """Make a call of an SDP offer, wherever there is room."""
        refusal: RequestRefused = no_worker()
        for calls in self._roomiest_first():
            try:
                return await calls.create_call(offer, **terms)
            except RequestRefused as refused:
                if not is_for_others(refused):
                    raise
                refusal = refused
        raise refusal

    async def end_call(self, call_id: str) -> bool:
        """Have its owner hang up."""
        calls = self._owner(call_id)
        return calls is not None and await calls.end_call(call_id)

    async def attach(self, call_id: str, handshake: Handshake, *, grant: Grant) -> None:
        """Have its owner accept a sideband."""
        calls = self._owner(call_id)
        if calls is None:
            raise unknown_call()
        await calls.attach(call_id, handshake, grant=grant)

    async def run_session(self, handshake: Handshake, *, model: str, grant: Grant) -> None:
        """Have a worker accept a socket that is a call of its own: the one with the most room."""
        calls = next(self._roomiest_first(), None)
        if calls is None:
            raise no_worker()
        await calls.run_session(handshake, model=model, grant=grant)

    def owner(self, call_id: str) -> Path | None:
        """Return where a call is, if it is anywhere."""
        calls = self._owner(call_id)
        return None if calls is None else calls.owner(call_id)

    def local_call(self, call_id: str) -> "ActiveCall | None":  # noqa: ARG002 - none is here
        """Return nothing."""
        return None

    def restart_ice(
        self,
        call: "ActiveCall",
        remote: "Credentials",  # noqa: ARG002
    ) -> "tuple[Credentials, Sequence[Candidate]]":
        """Refuse: a call that is here is none of a worker's."""
        raise UsageError(f"{call.id} is not a call of a worker")

    async def sessions(self) -> Sequence[Mapping[str, JSON]]:
        """Each call, those of the first worker first."""
        listed = await self._ask_all(RemoteCalls.sessions)
        return [session for sessions in listed.values() for session in sessions]

    async def session(self, call_id: str) -> Mapping[str, JSON] | None:
        """Have its owner describe a call."""
        calls = self._owner(call_id)
        return None if calls is None else await calls.session(call_id)

    async def metrics(self) -> bytes:
        """Everything that is counted: by the relay, and by each worker, with its number as a label.

        Not as sums: those would fall when a worker dies, which reads as a new start of all of them.
        """
        metrics = Metrics()
        metrics.gauge("workers", "Workers that are there now", len(self.pids))
        metrics.gauge("workers_started", "Workers ever started", self.workers_started)
        self._relay.report(metrics)
        for number, scrape in (await self._ask_all(RemoteCalls.metrics)).items():
            metrics.include(scrape, label="worker", value=str(number))
        return metrics.render()

    async def is_ready(self) -> bool:
        """Whether a call made now would work."""
        return bool(self._relay.pids) and any((await self._ask_all(RemoteCalls.is_ready)).values())

    # Internals

    def _roomiest_first(self) -> Iterator[RemoteCalls]:
        """Return the workers that are there."""
        # How much room there is was said up to a second ago, so it only tells whom to ask first.
        for keeper in sorted(self._keepers, key=lambda keeper: keeper.room, reverse=True):
            if keeper.calls is not None:
                yield keeper.calls

    def _owner(self, call_id: str) -> RemoteCalls | None:
        transceiver_id = transceiver_id_of(call_id)
        return next((each.calls for each in self._keepers if each.transceiver_id == transceiver_id), None)

    async def _ask_all(self, question: Callable[[RemoteCalls], Awaitable[_T]]) -> dict[int, _T]:
        """Return the answers of all workers that are there and not stuck, by their numbers."""
        answers: dict[int, _T] = {}

        async def ask(number: int, calls: RemoteCalls) -> None:
            with suppress(RequestRefused):
                answers[number] = await question(calls)

        async with trio.open_nursery() as nursery:
            for keeper in self._keepers:
                if keeper.calls is not None:
                    nursery.start_soon(ask, keeper.number, keeper.calls)
        return dict(sorted(answers.items()))


class _WorkerKeeper(Keeper):
    """Keeps one worker running, and the directory up to date about it."""

    def __init__(
        self, number: int, settings: WorkerSettings, directory: Directory, *, reserve: Reserve
    ) -> None:
        # From the other end than the relay's workers, so that they meet only where they must.
        processors = sorted(os.sched_getaffinity(0), reverse=True)
        super().__init__(
            "worker",
            number,
            reserve=reserve,
            processor=processors[number % len(processors)],
            start_seconds=_START_SECONDS,
        )
        self.transceiver_id: int | None = None
        """The present worker's; None while there is none."""
        self.calls: RemoteCalls | None = None
        """Those of the present worker; None while there is none."""
        self._settings = attrs.evolve(settings, number=number, config=_share(settings.config, number))
        self._directory = directory
        self._beats = 0
        self._call_count = 0

    @property
    def room(self) -> int:
        """Calls that the present worker could still take when it was last heard of."""
        return self._settings.config.max_calls - self._call_count

    def _first_message(self) -> ControlMessage:
        # Each worker has an id of its own: what led to its predecessor's calls leads nowhere any more.
        id_ = new_transceiver_id(self._settings.config.cluster, self._directory.transceivers())
        self._settings = attrs.evolve(self._settings, transceiver_id=id_)
        return self._settings.to_json()

    def _welcome(self, reply: ControlMessage) -> None:
        host, port = reply["hop"]
        self.transceiver_id = self._settings.transceiver_id
        self.calls = RemoteCalls(
            self._socket, agent_name=self._settings.config.agent, patience=_ANSWER_SECONDS
        )
        self._call_count = 0
        self._directory.register(self.transceiver_id, (host, port))

    async def _feed(self, _control: ControlChannel) -> None:
        await trio.sleep_forever()

    def _handle(self, message: ControlMessage, _nursery: trio.Nursery) -> None:
        self._beats += 1
        self._call_count = message["calls"]

    def _count_heartbeats(self) -> int:
        return self._beats

    def _vacate(self) -> None:
        self._directory.unregister(self._settings.transceiver_id)
        self._socket.unlink(missing_ok=True)
        self.transceiver_id = self.calls = None

    @property
    def _socket(self) -> Path:
        return worker_socket(self._settings.folder, self._settings.transceiver_id)


def _share(config: Config, number: int) -> Config:
    """Give a worker its part of what the server as a whole may have; the first ones get the remainder."""
    return attrs.evolve(
        config,
        workers=1,
        max_calls=share(config.max_calls, number, config.workers),
        max_pending_calls=share(config.max_pending_calls, number, config.workers),
    )
