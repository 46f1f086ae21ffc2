"""Targets of calls over sockets: the bridge to a Realtime server, and the playback of a plain socket.

Layer: core (sans-IO).
"""

import json
from typing import Any, Final

from voicegate.agents.realtime.bridge import AudioReceived, Bridge, EventReceived
from voicegate.agents.realtime.options import RealtimeOptions
from voicegate.call import ResponseEnded
from voicegate.errors import WireError
from voicegate.realtime.client_event import CLIENT_EVENTS
from voicegate.socket_call.playback import Piece, Playback
from voicegate.testing.script import Step, read_script, require, settle
from voicegate.wire.json_value import decode_object

__all__ = ["run_bridge", "run_playback"]

_CLIENT_EVENTS: Final = sorted(CLIENT_EVENTS)
_RATE: Final = 24_000
_NAMES: Final = (None, "a", "b", "c")
_SESSION: Final = {"type": "realtime", "audio": {"input": {"turn_detection": {"type": "server_vad"}}}}


def run_bridge(script: bytes) -> None:
    """Kinds 0-4: a text of the server's. 5, 6: an event of the client's, as text or made of the bytes.

    7: audio. 8: a server comes or goes. 9: the session. Others: time passes.
    """
    bridge = Bridge(RealtimeOptions())
    is_connected = False
    for step in read_script(script):
        settle(bridge, now=step.now)
        if step.kind <= 4:
            bridge.handle_text(step.data.decode("latin-1"))
        elif step.kind <= 6:
            event = _client_event(step)
            if event is not None:
                bridge.handle_client_event(event, now=step.now)
        elif step.kind == 7:
            bridge.add_audio(bytes(len(step.data) // 2 * 2), position_ms=step.now * 1000)
        elif step.kind == 8:
            bridge.disconnected("gone") if is_connected else bridge.connected(now=step.now)
            is_connected = not is_connected
        elif step.kind == 9:
            bridge.use_session(_SESSION)
        _check(bridge)


def _client_event(step: Step) -> dict[str, Any] | None:
    """Return an event such as a session lets through: an object with a type."""
    if step.kind == 6:
        kind = _CLIENT_EVENTS[sum(step.data) % len(_CLIENT_EVENTS)]
        return {"type": kind, "item_id": step.data[:2].hex(), "item": {"type": "message"}, "session": {}}
    try:
        event = decode_object(step.data.decode("latin-1"))
    except WireError:
        return None
    return event if isinstance(event.get("type"), str) else None


def _check(bridge: Bridge) -> None:
    while (event := bridge.poll_event()) is not None:
        if isinstance(event, EventReceived):
            require(isinstance(event.event["type"], str), "an event has a type")
            json.dumps(event.event)
        elif isinstance(event, AudioReceived):
            require(len(event.pcm) % 2 == 0, "samples are whole")
    while (text := bridge.poll_transmit()) is not None:
        require("type" in json.loads(text), "a request has a type")


def run_playback(script: bytes) -> None:
    """Kinds 0-4: audio, of one response or another. 5: something is sent. 6: all is interrupted.

    7: a response is cancelled. 8: a mark. 9: a pause or its end. 10: a report. Others: time passes.
    """
    playback = Playback(sample_rate=_RATE)
    pushed = sent = 0
    for step in read_script(script):
        name = _NAMES[sum(step.data) % len(_NAMES)]
        settle(playback, now=step.now)
        if step.kind <= 4:
            playback.push(bytes(2 * 100 * len(step.data)), response_id=name)
            pushed += 100 * len(step.data)
        elif step.kind == 5:
            item = playback.next_item(now=step.now)
            sent += len(item.pcm) // 2 if isinstance(item, Piece) else 0
        elif step.kind == 6:
            before = playback.output_state(now=step.now)
            require(
                playback.clear(now=step.now) == (before.heard_ms, before.queued_ms), "it drops what is queued"
            )
        elif step.kind == 7:
            playback.cancel_response(name or "a")
        elif step.kind == 8:
            playback.mark("m")
        elif step.kind == 9:
            playback.resume() if playback.is_paused else playback.pause()
        elif step.kind == 10:
            playback.add_report(ResponseEnded(response_id="a", status="completed"))
        state = playback.output_state(now=step.now)
        require(min(state.queued_ms, state.heard_ms) >= 0, "there is no less than nothing")
        while playback.poll_event() is not None:
            pass
    require(sent + playback.dropped_samples + playback.discarded_samples <= pushed, "no sample comes twice")
