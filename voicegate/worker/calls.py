"""The calls of this process: a transceiver with its agent, as the HTTP surface sees it."""

import datetime
import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from voicegate.agents import load_agent
from voicegate.agents.process import run_agent_process
from voicegate.call import Agent, EndCause
from voicegate.config import Config
from voicegate.datagram import DatagramPort, SegmentPort
from voicegate.errors import WireError
from voicegate.ice import Keyring
from voicegate.observability import Metrics
from voicegate.sdp import OfferError
from voicegate.signalling import CreatedCall, OfferRefused
from voicegate.transceiver import TooManyPendingError, Transceiver, TransceiverFullError
from voicegate.transceiver.collector import Collector
from voicegate.wire import hop

if TYPE_CHECKING:
    from voicegate.relay import Relay

__all__ = ["LocalCalls", "make_transceiver", "new_transceiver_id", "open_port", "run_agent"]

_CLUSTER_SHIFT: Final = 20
"""The cluster is in the high 12 of an id's 32 bits."""


class LocalCalls:
    """A `CallService` over the transceiver of this process.

    Args:
        transceiver: The owner of the calls.
        agent_name: What answers them.
        relay: The one in front of it, if it is this process's to report on.
    """

    def __init__(self, transceiver: Transceiver, *, agent_name: str, relay: "Relay | None" = None) -> None:
        self.transceiver: Final = transceiver
        self.agent_name: Final = agent_name
        self._relay = relay

    async def create_call(
        self,
        offer: str,
        *,
        session: Mapping[str, Any] | None,
        client: str,
        data_channel_id: int | None = None,
    ) -> CreatedCall:
        """Make a call of an SDP offer."""
        try:
            call_id, answer = self.transceiver.create_call(
                offer, metadata=session or {}, client=client, data_channel_id=data_channel_id
            )
        except WireError as error:
            raise OfferRefused(str(error)) from error
        except OfferError as error:
            raise OfferRefused(str(error), code=error.code, param=error.param) from error
        except TooManyPendingError as error:
            raise OfferRefused(str(error), status=429, code="too_many_pending_calls", param=None) from error
        except TransceiverFullError as error:
            raise OfferRefused(str(error), status=503, code="no_capacity", param=None) from error
        return CreatedCall(id=call_id, answer=answer)

    async def end_call(self, call_id: str) -> bool:
        """Hang up for the client."""
        call = self.transceiver.find(call_id)
        if call is None:
            return False
        call.end(EndCause.CLIENT_HANGUP, "the client hung up")
        return True

    async def sessions(self) -> Sequence[Mapping[str, Any]]:
        """Describe each call."""
        return self.transceiver.describe_all()

    async def session(self, call_id: str) -> Mapping[str, Any] | None:
        """Describe one call."""
        return self.transceiver.describe(call_id)

    async def metrics(self) -> bytes:
        """Everything that is counted."""
        metrics = Metrics()
        self.transceiver.report(metrics)
        if self._relay is not None:
            self._relay.report(metrics)
        return metrics.render()

    async def is_ready(self) -> bool:
        """Whether a call made now would work, as far as can be seen from here."""
        return self._relay is None or bool(self._relay.pids)


def new_transceiver_id(cluster: int, taken: Collection[int] = ()) -> int:
    """Make up an id that is not taken."""
    while True:
        made_up = cluster << _CLUSTER_SHIFT | int.from_bytes(os.urandom(3), "big") >> 4
        if made_up not in taken:
            return made_up


def open_port(host: str) -> SegmentPort:
    """Bind a hop socket on a free port."""
    return SegmentPort((host, 0), datagram_limit=hop.HEADER_LENGTH + hop.MAX_PAYLOAD_LENGTH)


def make_transceiver(
    port: DatagramPort,
    config: Config,
    *,
    agent: Agent,
    secrets: Sequence[bytes],
    transceiver_id: int,
    collector: Collector | None = None,
) -> Transceiver:
    """Make the transceiver that a configuration describes; ``collector`` is for a process that is ours."""
    return Transceiver(
        port,
        agent=agent,
        keyring=Keyring(secrets),
        transceiver_id=transceiver_id,
        max_calls=config.max_calls,
        max_call_seconds=config.max_call_seconds,
        max_pending_calls=config.max_pending_calls,
        max_pending_calls_per_client=config.max_pending_calls_per_client,
        set_up=config.set_up,
        uplink=config.uplink,
        random=os.urandom,
        clock=partial(datetime.datetime.now, datetime.UTC),
        collector=collector,
    )


async def run_agent(name: str, *, task_status: trio.TaskStatus[Agent] = trio.TASK_STATUS_IGNORED) -> None:
    """Have the agent of this name; what ``nursery.start`` returns takes calls for it.

    A ready one runs here, any other in a process of its own, because what it does would otherwise make frames
    late.

    Errors: UsageError, saying what is wrong with the name. Cancellation: ends the agent's process.
    """
    if ":" in name:
        await run_agent_process(name, task_status=task_status)
    else:
        task_status.started(load_agent(name))
