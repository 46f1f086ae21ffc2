"""The workers' life, seen from the process that wants them.

Each is a child process with a transceiver of its own, kept running by a `Keeper`. They share one HTTP address
(SO_REUSEPORT), and whichever is asked can answer: a call's id tells its owner (`voicegate.worker.shared`),
and what concerns all is answered here. When one dies, its calls are over; the relay drops what their clients
still send, and the next worker begins anew, with another transceiver id.
"""

import sys
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final, TypeVar, Unpack

import attrs
import trio

from voicegate.access import Grant
from voicegate.child.keeper import start_keepers
from voicegate.child.reserve import Reserve
from voicegate.config import Address, Config
from voicegate.directory import Directory, RelayLease
from voicegate.errors import UsageError
from voicegate.observability import Metrics, logging_settings
from voicegate.signalling import (
    JSON,
    CreatedCall,
    Door,
    RemoteCalls,
    RequestRefused,
    hold_address,
    serve_privately,
)
from voicegate.signalling.api import unknown_call
from voicegate.signalling.relays import RelayList
from voicegate.signalling.remote import no_worker
from voicegate.signalling.service import CallService, CallTerms, DrainState, Handshake
from voicegate.transceiver.call_id import transceiver_id_of
from voicegate.worker.calls import is_for_others
from voicegate.worker.control import WorkerSettings, server_socket
from voicegate.worker.keeper import ANSWER_SECONDS, Orders, WorkerKeeper

if TYPE_CHECKING:
    from voicegate.ice import Credentials
    from voicegate.relay import Relay
    from voicegate.sdp import Candidate
    from voicegate.transceiver.task import ActiveCall

__all__ = ["Workers", "run_workers"]

_T = TypeVar("_T")
_PATIENCE: Final = 5.0
"""Seconds for a worker to say goodbye to its calls and end."""


async def run_workers(
    config: Config,
    *,
    secrets: Sequence[bytes],
    hop_host: str,
    directory: Directory,
    relay: "Relay | None" = None,
    hop: Address | None = None,
    wrap: "Callable[[Workers], CallService] | None" = None,
    reports: Sequence[Callable[[Metrics], None]] = (),
    task_status: trio.TaskStatus["Workers"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep ``config.workers`` workers running, for ever; what ``nursery.start`` returns is their `Workers`.

    Args:
        config: The server's.
        secrets: Those that credentials are made of.
        hop_host: The local address on which relays reach the transceivers.
        directory: Where the workers' transceivers are announced, and the relays of the first answers listed;
            news of these comes by `Workers.set_relays`.
        relay: The one of this machine, if it has one.
        hop: Where the first worker takes packets from relays; the others at the ports behind it, or, if it is
            0, each at a free one. A wildcard is announced as ``hop_host``. By default that, with free ports.
        wrap: What workers are to find when they ask their supervisor for what they do not have; by default
            the other workers.
        reports: What else adds to a scrape.
        task_status: Told once all are ready.

    Errors: UsageError when they can't start, such as for an address in use, which it names.
    Cancellation: lets the workers say goodbye to their calls, and waits for their end.
    """
    with await hold_address(config.http.host, config.http.port) as held, _folder() as folder:
        http = Address(*held.getsockname()[:2])
        hop = hop or Address(hop_host, 0)
        settings = _settings_of_all(attrs.evolve(config, http=http), secrets, hop, Path(folder))
        async with trio.open_nursery() as nursery:
            reserve = Reserve(nursery, "voicegate.worker", patience=_PATIENCE)
            orders = Orders(hop_host=hop_host, relays=RelayList(directory.snapshot().relays))
            keepers = [
                WorkerKeeper(number, settings, orders, directory, reserve=reserve)
                for number in range(config.workers)
            ]
            workers = Workers(keepers, orders, relay, http=http, agent_name=config.agent, reports=reports)
            service = workers if wrap is None else wrap(workers)
            await nursery.start(serve_privately, service, server_socket(settings.folder))
            causes = await start_keepers(nursery, keepers)
            if not causes:
                task_status.started(workers)
                await trio.sleep_forever()
            nursery.cancel_scope.cancel()
    raise UsageError(causes[0])


def _settings_of_all(config: Config, secrets: Sequence[bytes], hop: Address, folder: Path) -> WorkerSettings:
    """Return what all workers are told at first, but for what is each one's own."""
    return WorkerSettings(
        number=0,
        count=config.workers,
        transceiver_id=0,
        config=config,
        secrets=secrets,
        hop=hop,
        folder=folder,
        import_path=sys.path,
        logging=logging_settings(),
    )


def _folder() -> "TemporaryDirectory[str]":
    """Make a folder that nobody else can look into."""
    return TemporaryDirectory(prefix="voicegate-", ignore_cleanup_errors=True)


class Workers:
    """The running workers, as one `CallService`."""

    def __init__(
        self,
        keepers: Sequence[WorkerKeeper],
        orders: Orders,
        relay: "Relay | None",
        *,
        http: Address,
        agent_name: str,
        reports: Sequence[Callable[[Metrics], None]] = (),
    ) -> None:
        self.http: Final = http
        """The address that they share."""
        self.agent_name: Final = agent_name
        self._keepers = keepers
        self._orders = orders
        self._relay = relay
        self._reports = reports
        self._conflicts = 0

    @property
    def transceiver_ids(self) -> Collection[int]:
        """The ids of the workers that are there now."""
        return [keeper.transceiver_id for keeper in self._keepers if keeper.transceiver_id is not None]

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
        """Have a worker accept a socket that is a call of its own, wherever there is room."""
        refusal: RequestRefused = no_worker()
        for calls in self._roomiest_first():
            try:
                return await calls.run_session(handshake, model=model, grant=grant)
            except RequestRefused as refused:
                if not is_for_others(refused):
                    raise
                refusal = refused
        raise refusal

    def owner(self, call_id: str) -> Door | None:
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
        metrics.gauge("workers_retired", "Workers that somebody else took the id of", self._conflicts)
        if self._relay is not None:
            self._relay.report(metrics)
        for report in self._reports:
            report(metrics)
        for number, scrape in (await self._ask_all(RemoteCalls.metrics)).items():
            metrics.include(scrape, label="worker", value=str(number))
        return metrics.render()

    async def is_ready(self) -> bool:
        """Whether a call made now would work."""
        has_way = self._relay is None or bool(self._relay.pids)
        return has_way and any((await self._ask_all(RemoteCalls.is_ready)).values())

    # What the workers are told

    async def begin_drain(self, *, seconds: float) -> None:
        """Have all workers take no new calls, those too that are still to come, and end those that they have.

        Once this returns, all have heard of it, but such as hang.
        """
        self._orders.drains_until = trio.current_time() + seconds
        await self._give_orders()

    async def end_drain(self) -> None:
        """Have all workers take calls again."""
        self._orders.drains_until = None
        await self._give_orders()

    async def drain_state(self) -> DrainState:
        """Say how far the workers are with going away; their calls are as they told us last."""
        return DrainState(
            is_draining=self._orders.drains_until is not None,
            seconds_left=self._orders.drain_seconds,
            calls=sum(keeper.call_count for keeper in self._keepers),
        )

    async def wait_empty(self) -> None:
        """Wait until no worker has a call; behind `begin_drain`, there is none then any more.

        Cancellation: a checkpoint always.
        """
        await trio.lowlevel.checkpoint()
        for keeper in self._keepers:
            await keeper.wait_empty()

    def set_relays(self, relays: Mapping[str, RelayLease]) -> None:
        """Have answers choose among these relays from now on."""
        listed = RelayList(relays)
        if listed != self._orders.relays:
            self._orders.relays = listed
            self._orders.note_change()

    def set_addresses(self, *, hop_host: str, peer: Address | None) -> None:
        """Announce the workers at other addresses: this machine has moved."""
        if (hop_host, peer) != (self._orders.hop_host, self._orders.peer):
            self._orders.hop_host, self._orders.peer = hop_host, peer
            for keeper in self._keepers:
                keeper.announce()

    def retire(self, transceiver_id: int) -> bool:
        """Have a worker take no new calls, since somebody else has its id; False when no worker has it.

        Its calls go on: relays may lead their packets to the other one, and the way back is sought anew for
        each. When they are over, a worker with another id takes its place.
        """
        for keeper in self._keepers:
            if keeper.transceiver_id == transceiver_id and keeper.retire():
                self._conflicts += 1
                return True
        return False

    async def _give_orders(self) -> None:
        self._orders.note_change()
        for keeper in self._keepers:
            keeper.announce()
        with trio.move_on_after(ANSWER_SECONDS):
            for keeper in self._keepers:
                await keeper.wait_obeyed()

    # Internals

    def _roomiest_first(self) -> Iterator[RemoteCalls]:
        """Return the workers that are there, each to be asked for a call."""
        # How much room there is was said up to a second ago, so it only tells whom to ask first.
        for keeper in sorted(self._keepers, key=lambda keeper: keeper.room, reverse=True):
            if keeper.calls is not None:
                keeper.note_asked()
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
