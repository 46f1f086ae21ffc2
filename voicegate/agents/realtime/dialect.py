"""The two dialects of the Realtime API: ``ga``, which everything here speaks, and ``beta``, which servers do.

They differ in names of events, in the shape of the session, and in what parts of a message are called.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal, TypeAlias

__all__ = ["Dialect", "item_for", "modern_event", "recognise", "response_for", "session_for"]

Dialect: TypeAlias = Literal["ga", "beta"]
JSONObject: TypeAlias = dict[str, Any]

_MODERN_NAMES: Final = {
    "response.audio.delta": "response.output_audio.delta",
    "response.audio.done": "response.output_audio.done",
    "response.audio_transcript.delta": "response.output_audio_transcript.delta",
    "response.audio_transcript.done": "response.output_audio_transcript.done",
    "response.text.delta": "response.output_text.delta",
    "response.text.done": "response.output_text.done",
    "conversation.item.created": "conversation.item.added",
}

_MODERN_PARTS: Final = {"text": "output_text", "audio": "output_audio"}
_BETA_PARTS: Final = {modern: beta for beta, modern in _MODERN_PARTS.items()}

_MODERN_FORMATS: Final = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}

_OF_THE_GATEWAY: Final = ("id", "object", "expires_at", "client_secret", "model")
"""Fields of a session that are each server's own."""


def recognise(event: Mapping[str, Any]) -> Dialect | None:
    """Return the dialect that an event shows; None when it is the same in both."""
    kind = event.get("type")
    session = event.get("session")
    if kind in _MODERN_NAMES and kind != "conversation.item.created":  # which servers of both have
        return "beta"
    if kind in _MODERN_NAMES.values() and kind != "conversation.item.added":
        return "ga"
    if kind in {"session.created", "session.updated"} and isinstance(session, Mapping):
        is_beta = bool({"modalities", "input_audio_format", "output_audio_format"} & set(session))
        return "beta" if is_beta and "audio" not in session else "ga"
    return None


def modern_event(event: JSONObject) -> JSONObject:
    """Return a server's event as GA has it, whichever it is."""
    kind = event.get("type")
    modern = {**event, "type": _MODERN_NAMES.get(kind, kind) if isinstance(kind, str) else kind}
    if isinstance(item := event.get("item"), dict):
        modern["item"] = _renamed(item, _MODERN_PARTS)
    if isinstance(part := event.get("part"), dict) and isinstance(part.get("type"), str):
        modern["part"] = {**part, "type": _MODERN_PARTS.get(part["type"], part["type"])}
    if isinstance(session := event.get("session"), dict):
        modern["session"] = _modern_session(session)
    response = event.get("response")
    if isinstance(response, dict):
        modern["response"] = response = dict(response)
        if "modalities" in response:
            response["output_modalities"] = _modern_modalities(response.pop("modalities"))
        if isinstance(output := response.get("output"), list):
            response["output"] = [
                _renamed(item, _MODERN_PARTS) if isinstance(item, dict) else item for item in output
            ]
    return modern


def session_for(dialect: Dialect, session: Mapping[str, Any]) -> JSONObject:
    """Return what is in a ``session.update`` to a server; what is null is left to it."""
    whole = {key: value for key, value in session.items() if key not in _OF_THE_GATEWAY and value is not None}
    if dialect == "ga":
        return whole
    audio = _mapping(whole.pop("audio", None))
    heard, said = _mapping(audio.get("input")), _mapping(audio.get("output"))
    whole.pop("type", None)
    wanted = whole.pop("output_modalities", ["audio"])
    limit = whole.pop("max_output_tokens", None)
    beta = {
        **{key: value for key, value in whole.items() if key in {"instructions", "tools", "tool_choice"}},
        "modalities": ["text"] if wanted == ["text"] else ["audio", "text"],
        "input_audio_format": _beta_format(heard.get("format")),
        "output_audio_format": _beta_format(said.get("format")),
        "voice": said.get("voice"),
        "input_audio_transcription": heard.get("transcription"),
        "max_response_output_tokens": limit,
    }
    beta = {key: value for key, value in beta.items() if value is not None}
    if "turn_detection" in heard:
        beta["turn_detection"] = heard["turn_detection"]  # null is a choice
    return beta


def item_for(dialect: Dialect, item: Mapping[str, Any]) -> JSONObject:
    """Return an item for a ``conversation.item.create``."""
    return dict(item) if dialect == "ga" else _renamed(item, _BETA_PARTS)


def response_for(dialect: Dialect, parameters: Mapping[str, Any]) -> JSONObject:
    """Return what is in a ``response.create``."""
    wanted = dict(parameters)
    if dialect == "beta":
        if "output_modalities" in wanted:
            asked = wanted.pop("output_modalities")
            wanted["modalities"] = ["text"] if asked == ["text"] else ["audio", "text"]
        said = _mapping(_mapping(wanted.pop("audio", None)).get("output"))
        if voice := said.get("voice"):
            wanted["voice"] = voice
    return wanted


def _renamed(item: Mapping[str, Any], names: Mapping[str, str]) -> JSONObject:
    content = item.get("content")
    if item.get("role") != "assistant" or not isinstance(content, list):
        return dict(item)
    parts = [
        {**part, "type": names.get(part["type"], part["type"])}
        if isinstance(part, Mapping) and isinstance(part.get("type"), str)
        else part
        for part in content
    ]
    return {**item, "content": parts}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _modern_session(session: JSONObject) -> JSONObject:
    if "audio" in session or "modalities" not in session:
        return session
    same = ("instructions", "tools", "tool_choice")
    modern: JSONObject = {key: session[key] for key in same if key in session}
    modern["output_modalities"] = _modern_modalities(session["modalities"])
    heard = {"turn_detection": "turn_detection", "transcription": "input_audio_transcription"}
    modern["audio"] = {
        "input": {key: session[beta] for key, beta in heard.items() if beta in session},
        "output": {key: session[key] for key in ("voice",) if key in session},
    }
    return modern


def _modern_modalities(modalities: object) -> list[str]:
    return ["text"] if modalities == ["text"] else ["audio"]


def _beta_format(chosen: object) -> str:
    kind = chosen.get("type") if isinstance(chosen, Mapping) else None
    return _MODERN_FORMATS.get(kind, "pcm16") if isinstance(kind, str) else "pcm16"
