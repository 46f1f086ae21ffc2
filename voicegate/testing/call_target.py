"""The target that is `CallCore`: a whole call, with a genuine client.

Layer: core (sans-IO).
"""

from contextlib import suppress
from typing import Final

from voicegate.errors import UsageError
from voicegate.sctp import SctpAssociation
from voicegate.sdp import Candidate, LocalParameters, SessionDescription, answer
from voicegate.testing.client import ClientCore
from voicegate.testing.core_target import ROUTE, certificate, keyring, make_path, repeatable_random
from voicegate.testing.script import Step, deliver, drain, read_script, require, settle
from voicegate.transceiver.core import CallCore
from voicegate.wire import PacketKind, classify

__all__ = ["local_parameters", "run_call"]

_HOME: Final = make_path(0)


def run_call(script: bytes, *, has_data: bool) -> None:
    """Kinds as in `deliver`, from home; 8 and more: the script's datagram, from elsewhere.

    With data channels, SNAP and SPED: 6 and all that was sent: the client sends it as a message; 7: we do, or
    open a channel if it is nothing.
    """
    core, client = _connectable_call(has_data=has_data)
    sent: list[bytes] = []
    for step in read_script(script):
        if has_data and step.kind in {6, 7}:
            # Neither end may send whatever whenever.
            with suppress(UsageError):
                _converse(core, client, step)
        settle(client, now=step.now)
        sent += drain(iter(client.poll_transmit, None))
        settle(core, now=step.now)
        path, arriving = (
            (make_path(step.kind), [step.data]) if step.kind >= 8 else (_HOME, deliver(step, sent))
        )
        for data in arriving:
            # As the engine does it: RTP by the short way.
            handle = core.handle_rtp if classify(data) is PacketKind.RTP else core.handle_datagram
            handle(data, path=path, now=step.now)
        for transmit in drain(iter(core.poll_transmit, None), inputs=len(arriving)):
            require(transmit.path == _HOME, "nothing is sent to where no genuine check came from")
            client.handle_datagram(transmit.data, now=step.now)
        for packet in core.next_packets(missed=step.kind, now=step.now):
            client.handle_datagram(packet, now=step.now)
        drain(iter(core.poll_audio, None), inputs=len(arriving))
        drain(iter(core.poll_event, None), inputs=len(arriving))
        if core.channels is not None:
            drain(iter(core.channels.poll_message, None), inputs=len(arriving))
            core.flush(now=step.now)
        core.statistics()
    core.close(now=1e6)
    require(core.poll_timeout() is None, "a closed call wants nothing more")
    require(core.frame_seconds is None and not core.next_packets(missed=0, now=1e6), "nor does it send")


def _converse(core: CallCore, client: ClientCore, step: Step) -> None:
    if step.kind == 6 and client.channels is not None:
        for channel_id in client.channels.channels:
            client.channels.send(channel_id, step.data, now=step.now)
    elif step.data and core.channels is not None:
        for channel_id in core.channels.channels:
            core.channels.send(channel_id, step.data, now=step.now)
    elif step.kind == 7 and core.channels is not None:
        core.channels.open(label="ours", now=step.now)
    core.flush(now=step.now)


def _connectable_call(*, has_data: bool) -> tuple[CallCore, ClientCore]:
    """Make a call that was offered and answered, and the client it is with."""
    random = repeatable_random()
    client = ClientCore(
        random=random,
        certificate=certificate(1),
        codec="PCMU",
        has_data=has_data,
        has_snap=has_data,
        has_sped=has_data,
    )
    association = SctpAssociation(random=random, now=0.0) if has_data else None
    local = local_parameters(
        sctp_init=None if association is None else association.init.encode(), has_sped=has_data
    )
    negotiated = answer(SessionDescription.decode(client.offer()), local)
    client.handle_answer(negotiated.answer.encode(), now=0.0)
    core = CallCore(
        local=keyring().mint(ROUTE),
        negotiated=negotiated,
        certificate=certificate(0),
        ssrc=1234,
        cname="server",
        random=random,
        now=0.0,
        ntp_at_zero=3.9e9,
        association=association,
    )
    return core, client


def local_parameters(*, sctp_init: bytes | None = None, has_sped: bool = False) -> LocalParameters:
    """Return our side of a call."""
    local = keyring().mint(ROUTE)
    return LocalParameters(
        ice_ufrag=local.ufrag,
        ice_pwd=local.pwd,
        fingerprint=str(certificate(0).fingerprint),
        candidates=(
            Candidate(foundation="1", transport="udp", priority=1, address="192.0.2.100", port=3478),
        ),
        session_id=1,
        ssrc=1234,
        cname="server",
        stream_id="s",
        track_id="t",
        sctp_init=sctp_init,
        has_sped=has_sped,
    )
