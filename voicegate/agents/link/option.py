"""How to reach an agent, and for how long to do without."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

import attrs

from voicegate.errors import UsageError

__all__ = ["LinkOptions"]


@attrs.frozen(kw_only=True)
class LinkOptions:
    """What an operator may say of an agent besides its URL."""

    shape: Literal["calls", "call"] = attrs.field(
        default="calls", validator=attrs.validators.in_(("calls", "call"))
    )
    """One socket for all calls, or one for each; the agent may ask for the latter in its hello."""
    key: str | None = attrs.field(
        default=None, validator=attrs.validators.optional(attrs.validators.instance_of(str)), repr=False
    )
    """Sent as ``Authorization: Bearer``."""
    hold_seconds: float = attrs.field(
        default=5.0, validator=[attrs.validators.ge(0.02), attrs.validators.le(60)]
    )
    """How much of a client's voice is kept for an agent whose socket is broken; older sound is dropped."""
    patience_seconds: float = attrs.field(
        default=30.0, validator=[attrs.validators.ge(0), attrs.validators.le(3600)]
    )
    """How long a call goes on without an agent before it ends."""
    ca_file: str | None = None
    """Who signs the server's certificate, if not one of the system's authorities."""
    certificate_file: str | None = None
    """Our own, for a server that wants one (mTLS), with its chain."""
    private_key_file: str | None = None
    """Of that, if it is in another file."""

    @classmethod
    def from_mapping(cls, table: Mapping[str, Any]) -> Self:
        """Read the options of a configuration.

        Errors: UsageError, naming the key that is wrong.
        """
        known = {field.name for field in attrs.fields(cls)}
        for key in table:
            if key not in known:
                raise UsageError(f"{key}: unknown; an agent behind a link has {', '.join(sorted(known))}")
        chosen = dict(table)
        for key, value in table.items():
            try:
                cls(**{key: value})
            except (TypeError, ValueError) as error:
                raise UsageError(f"{key}: {value!r} is not possible") from error
        return cls(**chosen)

    def ssl_context(self) -> ssl.SSLContext:
        """Return how to connect to a server of TLS.

        Errors: UsageError for files that can't be used.
        """
        for name in (self.ca_file, self.certificate_file, self.private_key_file):
            if name is not None and not Path(name).is_file():
                raise UsageError(f"{name}: there is no such file")
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
            if self.certificate_file is not None:
                context.load_cert_chain(self.certificate_file, self.private_key_file)
        except (OSError, ValueError) as error:
            raise UsageError(f"the certificates of the agent's link: {error}") from error
        return context
