"""Asks each caller for its key, where clients of the API put it, and says in HTTP why it is not let in."""

import datetime
from collections.abc import Callable
from typing import Final

import attrs
from starlette.requests import HTTPConnection

from voicegate.access import Denial, Gate, Grant
from voicegate.signalling.api import Access
from voicegate.signalling.fault import RequestRefused

__all__ = ["Gatekeeper", "unix_time"]

KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""Where browsers put the key of a WebSocket, for which they cannot set headers: among its subprotocols."""

_DENIALS: Final = {
    Denial.MISSING: (
        "missing_api_key",
        "This server wants an API key, in a header `Authorization: Bearer KEY`.",
    ),
    Denial.UNKNOWN: ("invalid_api_key", "This API key is not valid here."),
    Denial.EXPIRED: ("client_secret_expired", "This client secret has expired: ask for another."),
}


def unix_time() -> float:
    """Return the time of day, as client secrets count it."""
    return datetime.datetime.now(datetime.UTC).timestamp()


@attrs.frozen(kw_only=True)
class Gatekeeper:
    """A gate, and the time of day that client secrets end by."""

    gate: Gate
    clock: Callable[[], float] = unix_time

    def admit(self, connection: HTTPConnection, access: Access) -> Grant:
        """Return what the caller may do.

        Errors: RequestRefused, 401 without a key that is valid, 403 with one that is not for this.
        """
        if access is Access.OPEN:
            return Grant()
        found = self.gate.check(_token(connection), now=self.clock())
        if isinstance(found, Denial):
            code, message = _DENIALS[found]
            raise RequestRefused(message, status=401, code=code, headers={"WWW-Authenticate": "Bearer"})
        if access is Access.OPERATOR and found.is_ephemeral:
            raise RequestRefused("A client secret is not enough for this.", status=403, code="key_required")
        return found


def _token(connection: HTTPConnection) -> str | None:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    if connection.scope["type"] == "websocket":
        for protocol in connection.scope["subprotocols"]:
            if protocol.startswith(KEY_PROTOCOL):
                return str(protocol.removeprefix(KEY_PROTOCOL))
    return None
