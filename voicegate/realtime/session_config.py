"""The session object: its defaults, what a client may make of it, and what a client makes of it in old words.

Fields that the API does not know are kept as they are: they may be for the agent.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from voicegate.realtime.action import Action, DetectSpeech, Eagerness, StopDetecting
from voicegate.realtime.fault import EventRefused
from voicegate.realtime.field import Fields
from voicegate.wire.json_value import JSON, JSONObject, encode_object

__all__ = ["check_response", "detection", "new_session", "update_session"]

MAX_SESSION: Final = 1024 * 1024
"""Characters of a whole session as JSON; instructions and tools of a large application have a tenth."""

_MAX_TOOLS: Final = 1024
_MAX_NAMES: Final = 1024
_MAX_METADATA: Final = 16
_MAX_OUTPUT_TOKENS: Final = 4096
_IDLE_MS: Final = (5_000, 30_000)
_SILENCE_MS: Final = (20, 60_000)

_PCM: Final[JSONObject] = {"type": "audio/pcm", "rate": 24_000}
_FORMATS: Final = ("audio/pcm", "audio/pcmu", "audio/pcma")
_BETA_FORMATS: Final = {
    "pcm16": _PCM,
    "g711_ulaw": {"type": "audio/pcmu"},
    "g711_alaw": {"type": "audio/pcma"},
}

_SERVER_VAD: Final[JSONObject] = {
    "type": "server_vad",
    "threshold": 0.5,
    "prefix_padding_ms": 300,
    "silence_duration_ms": 500,
    "idle_timeout_ms": None,
    "create_response": True,
    "interrupt_response": True,
}
_SEMANTIC_VAD: Final[JSONObject] = {
    "type": "semantic_vad",
    "eagerness": "auto",
    "create_response": True,
    "interrupt_response": True,
}
_EAGER_SILENCE_MS: Final[Mapping[Eagerness, int]] = {"low": 1000, "medium": 700, "high": 400}
"""What semantic detection comes to where nothing but silence is looked at."""

_DEFAULTS: Final[JSONObject] = {
    "output_modalities": ["audio"],
    "instructions": "",
    "tools": [],
    "tool_choice": "auto",
    "max_output_tokens": "inf",
    "tracing": None,
    "truncation": "auto",
    "prompt": None,
    "include": None,
}
_INPUT_DEFAULTS: Final[JSONObject] = {
    "format": _PCM,
    "transcription": None,
    "noise_reduction": None,
    "turn_detection": _SERVER_VAD,
}
_OUTPUT_DEFAULTS: Final[JSONObject] = {"format": _PCM, "voice": "alloy", "speed": 1.0}


def new_session(
    session: JSONObject | None, *, session_id: str, model: str, expires_at: int | None
) -> dict[str, JSON]:
    """Return what a client asks for at the beginning, with everything else as it is by default.

    Errors: EventRefused.
    """
    whole = {
        "type": "realtime",
        "object": "realtime.session",
        "id": session_id,
        "model": model,
        **_DEFAULTS,
        "audio": {"input": dict(_INPUT_DEFAULTS), "output": dict(_OUTPUT_DEFAULTS)},
        "expires_at": expires_at,
    }
    return whole if session is None else update_session(whole, session, has_spoken=False)


def update_session(session: JSONObject, update: JSONObject, *, has_spoken: bool) -> dict[str, JSON]:
    """Return a session with what a client wants changed; null makes a field what it is by default.

    Args:
        session: as it is.
        update: what the client wants otherwise.
        has_spoken: whether the client has heard a voice, which then stays.

    Errors: EventRefused.
    """
    fields = Fields(_in_new_words(Fields(update, "session").value), "session")
    _check(fields)
    old = session["audio"]
    audio = fields.child("audio") or Fields({}, "session.audio")
    updated = {
        **session,
        **_with_defaults(fields.value, _DEFAULTS),
        "type": "realtime",
        "object": session["object"],
        "id": session["id"],
        "model": session["model"] or fields.text("model") or "",
        "expires_at": session["expires_at"],
        "audio": {
            **old,
            **audio.value,
            "input": _updated_input(old["input"], audio.child("input")),
            "output": _updated(old["output"], audio.child("output"), _OUTPUT_DEFAULTS),
        },
    }
    if has_spoken and updated["audio"]["output"]["voice"] != old["output"]["voice"]:
        raise EventRefused(
            "Cannot update a conversation's voice if assistant audio is present.",
            code="cannot_update_voice",
            param="session.audio.output.voice",
        )
    if len(encode_object(updated)) > MAX_SESSION:
        raise EventRefused(
            f"A session may have {MAX_SESSION} characters.", code="session_too_large", param="session"
        )
    return updated


def detection(session: JSONObject) -> Action:
    """Return how the user's turns are to be found."""
    wanted = session["audio"]["input"]["turn_detection"]
    if wanted is None:
        return StopDetecting()
    eagerness: Eagerness | None = None
    if wanted["type"] == "semantic_vad":
        eagerness = "medium" if wanted["eagerness"] == "auto" else wanted["eagerness"]
    defaulted = {**_SERVER_VAD, **wanted}
    return DetectSpeech(
        silence_ms=int(defaulted["silence_duration_ms"])
        if eagerness is None
        else _EAGER_SILENCE_MS[eagerness],
        threshold=defaulted["threshold"],
        prefix_ms=int(defaulted["prefix_padding_ms"]),
        barge_in=defaulted["interrupt_response"],
        eagerness=eagerness,
    )


def check_response(fields: Fields) -> None:
    """Refuse parameters of a response that the API does not have.

    Errors: EventRefused.
    """
    _check_output(fields)
    fields.text("conversation")
    if (metadata := fields.child("metadata")) is not None:
        if len(metadata.value) > _MAX_METADATA:
            raise fields.refusal("metadata", f"at most {_MAX_METADATA} pairs")
        for key in metadata.value:
            metadata.text(key)
    if (audio := fields.child("audio")) is not None and (output := audio.child("output")) is not None:
        _check_format(output)
        _check_voice(output)


def _updated(old: JSONObject, fields: Fields | None, defaults: JSONObject) -> dict[str, JSON]:
    return {**old} if fields is None else {**old, **_with_defaults(fields.value, defaults)}


def _updated_input(old: JSONObject, fields: Fields | None) -> dict[str, JSON]:
    updated = _updated(old, fields, {**_INPUT_DEFAULTS, "turn_detection": None})
    if fields is None or (wanted := fields.child("turn_detection")) is None:
        return updated
    known = old["turn_detection"] or _SERVER_VAD
    kind = wanted.text("type") or known["type"]
    defaults = _SERVER_VAD if kind == "server_vad" else _SEMANTIC_VAD
    before = known if known["type"] == kind else defaults
    return {**updated, "turn_detection": {**before, **_with_defaults(wanted.value, defaults), "type": kind}}


def _with_defaults(given: JSONObject, defaults: JSONObject) -> dict[str, JSON]:
    return {key: defaults.get(key) if value is None else value for key, value in given.items()}


# What each field may be


def _check(fields: Fields) -> None:
    if fields.choice("type", ("realtime", "transcription")) == "transcription":
        raise EventRefused(
            "Only sessions of type 'realtime' are supported.", code="unsupported_value", param="session.type"
        )
    fields.text("model")
    _check_output(fields)
    fields.texts("include", limit=_MAX_NAMES)
    _check_word_or_object(fields, "truncation", ("auto", "disabled"), _check_truncation)
    _check_word_or_object(fields, "tracing", ("auto",), _check_tracing)
    if (audio := fields.child("audio")) is not None:
        if (audio_input := audio.child("input")) is not None:
            _check_input(audio_input)
        if (output := audio.child("output")) is not None:
            _check_format(output)
            _check_voice(output)
            output.number("speed", 0.25, 1.5)


def _check_output(fields: Fields) -> None:
    """Check what sessions and responses have in common."""
    modalities = fields.texts("output_modalities", limit=2)
    if modalities is not None and modalities not in (["audio"], ["text"]):
        raise fields.refusal("output_modalities", "['audio'] or ['text']")
    fields.text("instructions")
    if fields.value.get("max_output_tokens") != "inf":
        fields.integer("max_output_tokens", 1, _MAX_OUTPUT_TOKENS)
    fields.flag("parallel_tool_calls")
    for tool in fields.children("tools", limit=_MAX_TOOLS):
        _check_tool(tool)
    _check_word_or_object(fields, "tool_choice", ("auto", "none", "required"), _check_tool_choice)
    if (prompt := fields.child("prompt")) is not None:
        prompt.required_text("id")
    if (reasoning := fields.child("reasoning")) is not None:
        reasoning.text("effort")


def _check_word_or_object(
    fields: Fields, key: str, words: tuple[str, ...], check: Callable[[Fields], None]
) -> None:
    if isinstance(fields.value.get(key), Mapping):
        check(Fields(fields.value[key], fields.name(key)))
    else:
        fields.choice(key, words)


def _check_truncation(fields: Fields) -> None:
    for key in ("type", "retention_ratio"):
        fields.require(key)
    fields.choice("type", ("retention_ratio",))
    fields.number("retention_ratio", 0.0, 1.0)
    fields.child("token_limits")


def _check_tracing(fields: Fields) -> None:
    fields.text("group_id")
    fields.text("workflow_name")
    fields.child("metadata")


def _check_tool_choice(fields: Fields) -> None:
    fields.require("type")
    if fields.choice("type", ("function", "mcp")) == "function":
        fields.required_text("name")
    else:
        fields.required_text("server_label")


def _check_tool(tool: Fields) -> None:
    tool.require("type")
    if tool.choice("type", ("function", "mcp")) == "function":
        tool.required_text("name", limit=256)
        tool.text("description")
        tool.child("parameters")
        return
    tool.required_text("server_label", limit=256)
    if not any(tool.has(key) for key in ("server_url", "connector_id", "tunnel_id")):
        tool.require("server_url")
    for key in ("server_url", "connector_id", "tunnel_id", "authorization", "server_description"):
        tool.text(key)
    tool.flag("defer_loading")
    if (headers := tool.child("headers")) is not None:
        for key in headers.value:
            headers.text(key)
    if isinstance(tool.value.get("allowed_tools"), list):
        tool.texts("allowed_tools", limit=_MAX_NAMES)
    elif (allowed := tool.child("allowed_tools")) is not None:
        _check_tool_filter(allowed)
    _check_word_or_object(tool, "require_approval", ("always", "never"), _check_approval)


def _check_approval(fields: Fields) -> None:
    for key in ("always", "never"):
        if (tools := fields.child(key)) is not None:
            _check_tool_filter(tools)


def _check_tool_filter(fields: Fields) -> None:
    fields.flag("read_only")
    fields.texts("tool_names", limit=_MAX_NAMES)


def _check_input(fields: Fields) -> None:
    _check_format(fields)
    if (noise := fields.child("noise_reduction")) is not None:
        noise.choice("type", ("near_field", "far_field"))
    if (transcription := fields.child("transcription")) is not None:
        for key in ("model", "language", "prompt"):
            transcription.text(key)
    if (turns := fields.child("turn_detection")) is not None:
        turns.choice("type", ("server_vad", "semantic_vad"))
        turns.choice("eagerness", ("low", "medium", "high", "auto"))
        turns.number("threshold", 0.0, 1.0)
        turns.integer("prefix_padding_ms", 0, _SILENCE_MS[1])
        turns.integer("silence_duration_ms", *_SILENCE_MS)
        turns.integer("idle_timeout_ms", *_IDLE_MS)
        turns.flag("create_response")
        turns.flag("interrupt_response")


def _check_format(fields: Fields) -> None:
    if (wanted := fields.child("format")) is None:
        return
    wanted.require("type")
    if wanted.choice("type", _FORMATS) == "audio/pcm":
        wanted.integer("rate", _PCM["rate"], _PCM["rate"])


def _check_voice(fields: Fields) -> None:
    if isinstance(fields.value.get("voice"), Mapping):
        Fields(fields.value["voice"], fields.name("voice")).required_text("id")
    else:
        fields.text("voice", limit=256)


# The beta's words

_MOVED: Final = MappingProxyType(
    {
        "voice": ("output", "voice"),
        "speed": ("output", "speed"),
        "output_audio_format": ("output", "format"),
        "input_audio_format": ("input", "format"),
        "input_audio_transcription": ("input", "transcription"),
        "input_audio_noise_reduction": ("input", "noise_reduction"),
        "turn_detection": ("input", "turn_detection"),
    }
)
"""Where what stood at the top of a session in the beta is now."""


def _in_new_words(session: JSONObject) -> JSONObject:
    """Return a session of the beta as it would be written now, and any other as it is."""
    renamed = dict(session)
    if isinstance(modalities := renamed.pop("modalities", None), list):
        renamed.setdefault("output_modalities", ["audio"] if "audio" in modalities else modalities)
    if "max_response_output_tokens" in renamed:
        renamed.setdefault("max_output_tokens", renamed.pop("max_response_output_tokens"))
    moved = {key: renamed.pop(key) for key in _MOVED if key in renamed}
    audio = renamed.get("audio") if renamed.get("audio") is not None else {}
    if not isinstance(audio, Mapping) or not (moved or audio):
        return renamed
    renamed["audio"] = audio = dict(audio)
    for key, value in moved.items():
        side, name = _MOVED[key]
        if isinstance(audio.setdefault(side, {}), Mapping):
            audio[side] = {name: value, **audio[side]}
    for side in ("input", "output"):
        if isinstance(part := audio.get(side), Mapping) and isinstance(part.get("format"), str):
            audio[side] = {**part, "format": _BETA_FORMATS.get(part["format"], part["format"])}
    return renamed
