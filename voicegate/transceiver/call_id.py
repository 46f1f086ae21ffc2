"""Call ids: which transceiver owns the call, in clear, and 64 bits that nobody can guess.

``rtc_u<cluster>_<base32 of transceiver id and session id>``: so a later request that names the call can be
led to its owner without a look-up.
"""

import re
from base64 import b32decode, b32encode
from typing import Final

from voicegate.ice import Route

__all__ = ["call_id_of", "call_id_of_live", "live_id_of", "transceiver_id_of"]

_CALL_ID: Final = re.compile(r"rtc_u[0-9]{1,4}_([a-z2-7]{20})", re.ASCII)
_CALL: Final = "rtc_"
_LIVE: Final = "live_"
"""What the same call is called as a session of the Live API."""
_PADDING: Final = "===="
"""What base32 (RFC 4648 §6) adds to 20 digits."""
_TRANSCEIVER_ID_LENGTH: Final = 4


def call_id_of(route: Route) -> str:
    """Return the id of the call that a route leads to."""
    transceiver_id = route.transceiver_id.to_bytes(_TRANSCEIVER_ID_LENGTH, "big")
    tail = b32encode(transceiver_id + route.session_id).decode().rstrip("=").lower()
    return f"rtc_u{route.cluster}_{tail}"


def live_id_of(call_id: str) -> str:
    """Return the id of the Live session that a call is."""
    return _LIVE + call_id.removeprefix(_CALL)


def call_id_of_live(session_id: str) -> str | None:
    """Return the id of the call that a Live session is; None for what is no id of one."""
    return _CALL + session_id.removeprefix(_LIVE) if session_id.startswith(_LIVE) else None


def transceiver_id_of(call_id: str) -> int | None:
    """Return the id of the transceiver that owns a call; None for what is no call id of ours."""
    found = _CALL_ID.fullmatch(call_id)
    if found is None:
        return None
    return int.from_bytes(b32decode(found[1].upper() + _PADDING)[:_TRANSCEIVER_ID_LENGTH], "big")
