"""Which agents there are."""

from collections.abc import Mapping
from typing import Any, Self

import attrs

from voicegate.errors import UsageError

__all__ = ["AgentSpec"]


@attrs.frozen(kw_only=True)
class AgentSpec:
    """Where an agent is, and what else there is to say to it."""

    use: str
    """``echo``, ``parrot``, ``transcode`` or ``cascade``; ``package.module:function``; ``ws://`` or ``wss://``
    of an agent server; ``realtime:`` and the same of a model's, or ``realtime`` with a ``url``."""
    options: Mapping[str, Any] = attrs.field(factory=dict, repr=False)
    """What goes with it, as its own documentation says."""

    @classmethod
    def of(cls, value: "AgentSpec | str | Mapping[str, Any]") -> Self:
        """Read a table with ``use`` and the options, or ``use`` alone.

        Errors: UsageError.
        """
        if isinstance(value, cls):
            return value
        table = {"use": value} if isinstance(value, str) else value
        if not isinstance(table, Mapping) or not isinstance(table.get("use"), str) or not table["use"]:
            raise UsageError("each is a table with `use`, which says what it is")
        return cls(use=table["use"], options={key: each for key, each in table.items() if key != "use"})
