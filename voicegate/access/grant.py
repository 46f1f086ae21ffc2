"""What a caller may do, as its key or client secret says."""

from collections.abc import Mapping
from typing import Any, Self

import attrs

__all__ = ["Grant"]


@attrs.frozen(kw_only=True)
class Grant:
    """The rights that come with a key; those of a client secret are its key's."""

    key: str = ""
    """The name of the key, for people and for counting; empty where no key is needed."""
    agent: str | None = None
    """The agent that answers, whatever model the client names; None leaves it the choice."""
    session: Mapping[str, Any] | None = None
    """The session that a client secret was made for; it wins over what the client sends with its offer."""
    max_calls: int | None = None
    """Calls at once of this key; None is no limit but the server's."""
    max_seconds: float | None = None
    """The longest call; None is no limit but the server's."""
    is_ephemeral: bool = False
    """Whether it came from a client secret: good for calls, not for looking at those of others."""

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `to_json` wrote, in a process that is trusted."""
        return cls(**value)

    def to_json(self) -> dict[str, Any]:
        """Write it for another process of the same server."""
        return attrs.asdict(self, recurse=False)
