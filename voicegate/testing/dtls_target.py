"""The target that is `DtlsConnection`, in either role and version, with a genuine peer.

Layer: core (sans-IO).
"""

from collections.abc import Sequence
from typing import Final

from voicegate.dtls import (
    ApplicationData,
    Closed,
    DtlsConnection,
    Event,
    HandshakeCompleted,
    HandshakeFailed,
    HandshakeStarted,
    KeysReady,
    ProtocolVersion,
    Role,
)
from voicegate.dtls.v12 import association as v12
from voicegate.dtls.v13 import association as v13
from voicegate.testing.core_target import certificate, repeatable_random
from voicegate.testing.script import deliver, drain, read_script, require, settle

__all__ = ["run_dtls"]

_HEARD: Final = b"heard"
_SEALED: Final = 15
_ORDER: Final = (HandshakeStarted, KeysReady, HandshakeCompleted, HandshakeFailed, Closed)


def run_dtls(
    role: Role,
    script: bytes,
    *,
    versions: Sequence[ProtocolVersion],
    peer_versions: Sequence[ProtocolVersion] = (),
) -> None:
    """Kinds as in `deliver`, and 15: what follows a content type comes protected by the peer's own keys.

    Otherwise the peer is genuine; it does the same versions unless ``peer_versions`` says which.
    """
    other = Role.CLIENT if role is Role.SERVER else Role.SERVER
    end = _dtls_connection(role, versions=versions)
    peer = _dtls_connection(other, versions=peer_versions or versions)
    (end if role is Role.CLIENT else peer).start(now=0.0)
    sent: list[bytes] = []
    said = {_HEARD}
    told: list[Event] = []
    for step in read_script(script):
        settle(peer, now=step.now)
        if peer.can_send:
            peer.send(_HEARD, now=step.now)
        sent += drain(iter(peer.poll_transmit, None))
        settle(end, now=step.now)
        if step.kind == _SEALED and step.data:
            # With type 0 it is what a reader finds before its padding (RFC 9147 §4, RFC 8446 §5.4).
            said.add((step.data[1:] + step.data[:1]).rstrip(b"\0")[:-1])
            sent.append(_seal(peer, step.data[0], step.data[1:]))
        arriving = deliver(step, sent)
        for data in arriving:
            end.handle_datagram(data, now=step.now)
        told += drain(iter(end.poll_event, None), inputs=len(arriving))
        if end.can_send:
            end.send(b"said", now=step.now)
        answers = drain(iter(end.poll_transmit, None), inputs=len(arriving))
        for data in answers:
            peer.handle_datagram(data, now=step.now)
        drain(iter(peer.poll_event, None), inputs=len(answers))
        drain(end.flight)
    _check_told(told, said)


def _seal(peer: DtlsConnection, content_type: int, data: bytes) -> bytes:
    """Make a record as only the peer can, of what it would never say."""
    association = peer._association  # noqa: SLF001 - what no connection does has no method
    if isinstance(association, v13.Association) and association._epochs.newest_write:  # noqa: SLF001
        return association._epochs.writing().protect(content_type, data)  # noqa: SLF001
    if isinstance(association, v12.Association) and association.can_send:
        return association._protect(content_type, data)  # noqa: SLF001
    return data


def _check_told(told: list[Event], said: set[bytes]) -> None:
    """See that a connection has told its owner things that can be, in an order that can be."""
    order = [type(event) for event in told if not isinstance(event, ApplicationData)]
    require(len(set(order)) == len(order), "everything but data comes once")
    require(order == sorted(order, key=_ORDER.index), "keys come before completion, and the end comes last")
    require(
        HandshakeCompleted not in order or KeysReady in order, "there are keys before a handshake is complete"
    )
    received = [position for position, event in enumerate(told) if isinstance(event, ApplicationData)]
    completed = [position for position, event in enumerate(told) if isinstance(event, HandshakeCompleted)]
    require(not received or (completed and completed < received), "data is of a peer that was proven")
    require(
        all(event.data in said for event in told if isinstance(event, ApplicationData)),
        "what is let in is what the peer has sent",
    )


def _dtls_connection(role: Role, *, versions: Sequence[ProtocolVersion]) -> DtlsConnection:
    ours, theirs = (0, 1) if role is Role.SERVER else (1, 0)
    return DtlsConnection(
        role=role,
        certificate=certificate(ours),
        remote_fingerprints=[certificate(theirs).fingerprint],
        random=repeatable_random(),
        now=0.0,
        mtu=300,
        versions=versions,
    )
