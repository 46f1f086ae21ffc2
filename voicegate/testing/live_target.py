"""Targets of the Live API and of DTMF: what a script of client events, or of packets, may do to them.

Layer: core (sans-IO).
"""

import json
import typing

from voicegate.errors import WireError
from voicegate.realtime.agent_event import AgentReport, agent_event_from_json
from voicegate.realtime.live import CHANNEL, MAX_DELEGATIONS, LiveSession
from voicegate.realtime.notice import InputDtmf, OutputInterrupted, SpeechBegan, TurnOver
from voicegate.rtp import KeyPresses, RtpPacket
from voicegate.rtp.telephone_event import KEYS
from voicegate.testing.script import read_script, require
from voicegate.wire.json_value import decode_object

__all__ = ["run_key_presses", "run_live_session"]

_NOTICES = (SpeechBegan(100), TurnOver(200), OutputInterrupted("r", 10, 20), InputDtmf("5", 100))
_REPORTS = typing.get_args(AgentReport)
_CLOCK_RATES = {110: 48_000, 126: 8_000}


def run_live_session(script: bytes) -> None:
    """Kinds 0, 1: a text of the page, or its application. 2: a report of the agent. 3: a notice. 4: time."""
    session = LiveSession(session_id="live_1", model="m", session=None, random=bytes, now=0.0)
    for source in (CHANNEL, "sideband"):
        session.attach(source)
    for kind, now, data in read_script(script):
        text = data.decode(errors="surrogateescape")
        match kind % 5:
            case 0 | 1:
                session.handle_text(text, source="sideband" if kind % 5 else CHANNEL, now=now)
            case 2:
                report = _report(text)
                if report is not None:
                    session.handle_report(report, now=now)
            case 3:
                session.handle_notice(_NOTICES[len(data) % len(_NOTICES)], now=now)
            case _:
                session.handle_timeout(now=now)
        _look(session)


def _report(text: str) -> AgentReport | None:
    """Read what the link would hand on as a report; None of anything else."""
    try:
        event = agent_event_from_json(decode_object(text))
    except WireError:
        return None
    return event if isinstance(event, _REPORTS) else None


def _look(session: LiveSession) -> None:
    for out in iter(session.poll_event, None):
        event = json.loads(out.text)
        require({"type", "event_id"} <= event.keys(), "an event has a type and a name")
    while session.poll_action() is not None:
        pass
    require(len(session._delegations) <= MAX_DELEGATIONS, "what waits is bounded")  # noqa: SLF001


def run_key_presses(script: bytes) -> None:
    """Even kinds: a payload, at a timestamp that the kind and its first byte say. Odd kinds: time passes."""
    keys = KeyPresses(_CLOCK_RATES)
    packets = 0
    told = 0
    for kind, now, data in read_script(script):
        if kind % 2:
            keys.handle_timeout(now=now)
        else:
            packets += 1
            timestamp = (kind << 28 | (data[0] if data else 0)) & 0xFFFF_FFFF
            payload_type = 110 if kind % 4 else 126
            keys.handle_packet(RtpPacket(payload_type, 0, timestamp, kind >> 3, data), now=now)
        for key, duration_ms in iter(keys.poll_press, None):
            told += 1
            require(key in KEYS and duration_ms >= 0, "a press is of a key, and takes some time")
        due = keys.poll_timeout()
        require(not kind % 2 or due is None or due > now, "what was due is done")
    require(told <= packets, "no press without a packet")
