"""The session that the client wants, and what of it a server is told."""

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

from voicegate.agents.realtime.options import RealtimeOptions

__all__ = ["SessionWish"]

JSONObject: TypeAlias = dict[str, Any]

_DEFAULT_VOICE: Final = "alloy"
"""What a session has whose client has not chosen."""

_OF_THE_GATEWAY: Final = ("id", "object", "expires_at", "client_secret", "model", "type")


class SessionWish:
    """One call's session.

    The formats of audio are the bridge's towards the server, and the client's own towards the client.
    """

    def __init__(self, options: RealtimeOptions) -> None:
        self.session: JSONObject = {}
        """Whole, as a server is told it; empty before there is one."""
        self._options = options
        self._formats: dict[str, Any] = {}
        self._instructions = ""

    @property
    def interrupts(self) -> bool:
        """Whether the user's speech stops the server's."""
        match self.session:
            case {"audio": {"input": {"turn_detection": {"interrupt_response": False}}}}:
                return False
            case _:
                return True

    @property
    def detects_turns(self) -> bool:
        """Whether the server finds out for itself when the user's turn is over."""
        match self.session:
            case {"audio": {"input": {"turn_detection": None}}}:
                return False
            case _:
                return True

    def replace(self, session: Mapping[str, Any]) -> None:
        """Take a whole session."""
        self._note_own(session)
        self.session = self.adapted(session)

    def update(self, update: Mapping[str, Any]) -> None:
        """Take what the client wants changed."""
        self._note_own(update)
        self.session = _merged(self.session, self.adapted(update))

    def adapted(self, session: Mapping[str, Any]) -> JSONObject:
        """Return a session, or a part of one, as a server is to have it."""
        options = self._options
        audio = _mapping(session.get("audio"))
        heard = {**_mapping(audio.get("input")), "format": _pcm(options.input_rate)}
        said = {**_mapping(audio.get("output")), "format": _pcm(options.output_rate)}
        if options.voice and said.get("voice") in (None, _DEFAULT_VOICE):
            said["voice"] = options.voice
        adapted = {**session, "type": "realtime", "audio": {**audio, "input": heard, "output": said}}
        if options.instructions:
            adapted["instructions"] = f"{options.instructions}\n\n{self._instructions}".rstrip()
        elif not session.get("instructions"):
            adapted.pop("instructions", None)
        return adapted

    def for_client(self, session: Mapping[str, Any]) -> JSONObject:
        """Return what a server says of the session, with the client's own formats."""
        audio = _mapping(session.get("audio"))
        ways = {way: dict(_mapping(audio.get(way))) for way in ("input", "output")}
        for way, described in ways.items():
            described.pop("format", None)
            if way in self._formats:
                described["format"] = self._formats[way]
        told = {key: value for key, value in session.items() if key not in _OF_THE_GATEWAY}
        if self._options.instructions:  # which are for the model's eyes only
            told["instructions"] = self._instructions
        return {**told, "type": "realtime", "audio": {**audio, **ways}}

    def _note_own(self, session: Mapping[str, Any]) -> None:
        given = session.get("instructions", self._instructions)
        self._instructions = given if isinstance(given, str) else ""
        audio = _mapping(session.get("audio"))
        for way in ("input", "output"):
            if chosen := _mapping(audio.get(way)).get("format"):
                self._formats[way] = chosen


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _merged(old: JSONObject, new: JSONObject) -> JSONObject:
    audio = dict(_mapping(old.get("audio")))
    for way, described in new["audio"].items():
        is_part = isinstance(described, Mapping) and isinstance(audio.get(way), Mapping)
        audio[way] = {**audio[way], **described} if is_part else described
    return {**old, **new, "audio": audio}


def _pcm(rate: int) -> JSONObject:
    return {"type": "audio/pcm", "rate": rate}
