"""The relay of a machine: it follows the directory, and the directory knows of it."""

from collections.abc import Sequence

import trio

from voicegate.config import Address, Config
from voicegate.directory import Directory
from voicegate.relay import Relay, RelayConfig, run_relay
from voicegate.server.learn import learn
from voicegate.server.place import relay_lease

__all__ = ["run_front"]


async def run_front(
    config: Config,
    directory: Directory,
    *,
    secrets: Sequence[bytes],
    hop: Address,
    task_status: trio.TaskStatus[Relay] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run the relay that a configuration describes, for ever; ``nursery.start`` returns it.

    Errors: UsageError when it can't start. Cancellation: takes it out of the directory, too.
    """
    if config.directory is not None:
        # What comes before a transceiver is known has nowhere to go.
        await learn(directory, lambda snapshot: snapshot.transceivers)
    relay_config = RelayConfig(
        secrets=secrets,
        public=config.udp,
        hop=hop,
        streams=config.udp if config.tcp is None else config.tcp,
        tls=[str(path) for path in (config.tls_certificate, config.tls_key) if path],
        workers=config.relay_workers,
        flow_limit=config.relay_flows,
        transceivers=directory.snapshot().hops,
    )
    async with trio.open_nursery() as nursery:
        relay = await nursery.start(run_relay, relay_config, directory)
        # Before whoever waits for this relay looks for it in the directory.
        await nursery.start(_announce, relay, config, directory)
        task_status.started(relay)
        async for snapshot in directory.watch():
            relay.set_transceivers(snapshot.hops)


async def _announce(
    relay: Relay, config: Config, directory: Directory, *, task_status: trio.TaskStatus[None]
) -> None:
    def register() -> None:
        directory.register_relay(config.relay_name, relay_lease(config, relay))

    try:
        register()
        task_status.started()
        while True:
            await relay.wait_drain_changed()
            register()
    finally:
        directory.unregister_relay(config.relay_name)
