"""The ways of setting up a call that are compared, named as in the table of `docs/bench.md`."""

from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from voicegate.errors import UsageError
from voicegate.testing.browser import Kind

__all__ = ["ROWS", "Bounds", "Row", "select_rows"]

_WITHOUT_PQC: Final = "--disable-features=WebRtcPqcForDtls"
_WITH_SNAP: Final = "--enable-features=WebRtcSctpSnap"
_WITH_SPED: Final = "--force-fieldtrials=WebRTC-IceHandshakeDtls/Enabled/"


@attrs.frozen
class Bounds:
    """The most round trips that voicegate may take, where a round trip is `BOUNDS_ROUND_TRIP_MS` or more."""

    server_audio: float
    both_data: float


@attrs.frozen(kw_only=True)
class Row:
    """One way of setting up a call."""

    name: str
    title: str
    browsers: Sequence[Kind] = ("chromium",)
    arguments: Sequence[str] = ()
    """Chromium's command line options."""
    is_negotiated: bool = True
    """Whether both sides know the data channel beforehand, rather than the client opening it (RFC 8832)."""
    server: Mapping[str, object] = attrs.field(factory=dict)
    """What our server is held back to, as `voicegate.config.SetUp`, in order to show what it gains."""
    tls_version: str = "FEFC"
    """What the browser must have spoken with voicegate in the end."""
    bounds: Bounds | None = None


ROWS: Final = (
    Row(
        name="A",
        title="DTLS 1.2, channel opened by the client",
        is_negotiated=False,
        server={"dtls": "1.2", "sctp_init": False},
        tls_version="FEFD",
    ),
    Row(
        name="D",
        title="DTLS 1.3, negotiated channel",
        browsers=("chromium", "firefox"),
        server={"sctp_init": False},
    ),
    Row(
        name="S",
        title="stock browser: server sends INIT at once",
        browsers=("chromium", "firefox"),
        bounds=Bounds(2.1, 3.7),
    ),
    Row(name="E", title="S with SNAP", arguments=(_WITH_SNAP,), bounds=Bounds(2.1, 2.7)),
    Row(
        name="G",
        title="WARP: DTLS 1.3, SPED, SNAP",
        arguments=(_WITHOUT_PQC, _WITH_SNAP, _WITH_SPED),
        bounds=Bounds(1.1, 1.7),
    ),
    Row(
        name="Gd",
        title="G, the server's flight not embedded",
        arguments=(_WITHOUT_PQC, _WITH_SNAP, _WITH_SPED),
        server={"sped": "minimal"},
    ),
    Row(name="H", title="G with post-quantum key shares", arguments=(_WITH_SNAP, _WITH_SPED)),
)


def select_rows(names: Sequence[str], browser: Kind) -> list[Row]:
    """Return the named rows that a browser can show, all of them if none is named.

    Errors: UsageError for a name that is none.
    """
    known = {row.name.lower(): row for row in ROWS}
    for name in names:
        if name.lower() not in known:
            raise UsageError(f"{name!r} is no row; there are {', '.join(row.name for row in ROWS)}")
    chosen = {name.lower() for name in names or known}
    return [row for name, row in known.items() if name in chosen and browser in row.browsers]
