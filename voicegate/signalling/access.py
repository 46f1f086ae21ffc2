"""Which web pages and which host names may use this server.

A server on a person's own machine can be reached by every page that this person's browser has open, which
gives a stranger two ways in that a firewall does not see.

Attack 1: a page of another site sends requests to ``http://127.0.0.1:8080``. Wanted: it may start a call
where the operator allows its origin (by default any, as the public API does, never with cookies), and may
end a call whose id it knows; it reads and does nothing else. Construction: CORS headers below the
`SHARED_PREFIXES` only, and a request from an origin that is not allowed there, or from any other page
elsewhere, is refused, not merely left without headers, because a form needs no preflight, and a WebSocket
knows none.

Attack 2: DNS rebinding. A page of ``evil.example``, once its name points to 127.0.0.1, is of our own
origin for the browser. Wanted: a server bound to loopback answers only to names that cannot be rebound.
Construction: its ``Host`` must be an address, ``localhost``, or a name that the operator lists.
"""

import ipaddress
from collections.abc import Mapping
from typing import Final

import attrs
from starlette.datastructures import Headers

from voicegate.signalling.fault import RequestRefused

__all__ = ["AccessPolicy"]

SHARED_PREFIXES: Final = ("/v1/realtime", "/v1/live", "/v1/whip")
"""The routes that pages of other origins may use: these, and what is below them."""

_ALLOWED_METHODS: Final = "GET, POST, PATCH, DELETE, OPTIONS"
_ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, X-OpenAI-Agents-SDK, OpenAI-Safety-Identifier, If-Match"
)
_EXPOSED_HEADERS: Final = "Location, ETag, Link, Accept-Patch, Retry-After"
"""What openai-agents-js sends; a preflight that asks for others is told them back."""
_PREFLIGHT_SECONDS: Final = 7200
"""For how long a browser may remember a preflight; Chromium's own upper bound."""


@attrs.frozen(kw_only=True)
class AccessPolicy:
    """Origins and hosts that are served."""

    origins: frozenset[str] = frozenset({"*"})
    """Origins as browsers write them, ``https://app.example``; ``*`` is any."""
    hosts: frozenset[str] | None = None
    """Host names served besides addresses and ``localhost``, without a port; None is any."""

    def check(self, path: str, headers: Headers) -> None:
        """Refuse what comes under a wrong name or from a wrong page.

        Errors: RequestRefused, 421 for the host and 403 for the origin.
        """
        host = headers.get("host", "")
        if not self._serves(host):
            raise RequestRefused(
                f"This server does not answer to the host name {host!r}; its operator can allow it.",
                status=421,
                code="host_not_allowed",
            )
        origin = headers.get("origin")
        if origin is None or (_is_shared(path) and self._admits(origin)):
            return
        if origin.partition("://")[2] != host:
            raise RequestRefused(
                f"Pages of {origin!r} may not call this server; its operator can allow them.",
                status=403,
                code="origin_not_allowed",
            )

    def is_preflight(self, method: str, path: str, headers: Headers) -> bool:
        """Whether a browser is asking what another origin's page may do."""
        return (
            method == "OPTIONS"
            and _is_shared(path)
            and "origin" in headers
            and "access-control-request-method" in headers
        )

    def preflight_headers(self, headers: Headers) -> dict[str, str]:
        """Answer a preflight, besides `response_headers`."""
        return {
            "Access-Control-Allow-Methods": _ALLOWED_METHODS,
            "Access-Control-Allow-Headers": headers.get("access-control-request-headers") or _ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }

    def response_headers(self, path: str, headers: Headers) -> Mapping[str, str]:
        """What every answer on this path says about other origins."""
        if not _is_shared(path):
            return {"Cross-Origin-Resource-Policy": "same-origin"}
        origin = headers.get("origin")
        shared = {"Access-Control-Expose-Headers": _EXPOSED_HEADERS}
        if "*" in self.origins:
            return {"Access-Control-Allow-Origin": "*"} | shared
        if origin is not None and origin in self.origins:
            return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} | shared
        return {"Vary": "Origin"}

    def _admits(self, origin: str) -> bool:
        return "*" in self.origins or origin in self.origins

    def _serves(self, host: str) -> bool:
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        name = name.lower().removesuffix(".")
        if (
            self.hosts is None
            or name in self.hosts
            or name in {"", "localhost"}
            or name.endswith(".localhost")
        ):
            return True
        try:
            ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return True


def _is_shared(path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in SHARED_PREFIXES)
