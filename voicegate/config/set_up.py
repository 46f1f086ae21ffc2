"""How calls come up."""

from typing import Any, Literal

import attrs

from voicegate.config.form import flag, one_of, some_of

__all__ = ["SetUp"]

_VERSIONS = ("1.3", "1.2")


def _versions(value: "str | list[Any] | tuple[Any, ...]") -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@attrs.frozen(kw_only=True)
class SetUp:
    """Which short cuts calls take on their way up, each where the client can; by default, all."""

    dtls: tuple[str, ...] = attrs.field(default=_VERSIONS, converter=_versions, validator=some_of(*_VERSIONS))
    """Versions of DTLS."""
    early: bool = attrs.field(default=True, validator=flag)
    """Speak right behind our DTLS 1.3 flight, before the client is verified (RFC 8446 §4.4.4).

    It has proven by its check that it knows the answer to the offer, but not yet that it holds the key the
    offer named."""
    sctp_init: bool = attrs.field(default=True, validator=flag)
    """Open the SCTP association ourselves, rather than wait for the client to."""
    snap: bool = attrs.field(default=True, validator=flag)
    """Agree the SCTP association in offer and answer."""
    sped: Literal["full", "minimal", "off"] = attrs.field(
        default="full", validator=one_of("full", "minimal", "off")
    )
    """Take DTLS out of connectivity checks, and (full) embed ours in the answers to them, too."""
