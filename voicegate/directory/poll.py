"""How far a reader is in the changes of the directory, sans-IO."""

from typing import Self

import attrs

from voicegate.errors import WireError

__all__ = ["Answer", "Position"]


@attrs.frozen(kw_only=True)
class Answer:
    """What the poll script answers."""

    time: float
    """Of the server, in Unix seconds."""
    epoch: bytes
    version: int
    pruned: int
    """Changes up to here are no longer listed."""
    changed: tuple[bytes, ...]
    reached: int
    """The version of the last change that is listed; 0 without any."""

    @classmethod
    def decode(cls, answer: object) -> Self:
        """Read it.

        Errors: WireError.
        """
        match answer:
            case [
                bytes(seconds),
                bytes(micros),
                bytes(epoch),
                bytes(version),
                bytes(pruned),
                list(changes),
            ] if len(changes) % 2 == 0:
                try:
                    return cls(
                        time=int(seconds) + int(micros) / 1e6,
                        epoch=epoch,
                        version=int(version),
                        pruned=int(pruned),
                        changed=tuple(map(bytes, changes[::2])),
                        reached=int(float(changes[-1])) if changes else 0,
                    )
                except (TypeError, ValueError, OverflowError) as error:
                    raise WireError("no answer to a poll") from error
        raise WireError("no answer to a poll")

    def is_partial(self, *, limit: int) -> bool:
        """Tell whether there may be more changes than were asked for."""
        return len(self.changed) >= limit


class Position:
    """The version up to which a reader knows the changes."""

    def __init__(self) -> None:
        self.version = 0
        """Up to which all is known."""
        self._epoch: bytes | None = None
        self._reread_at = 0.0

    def is_of_another_epoch(self, answer: Answer) -> bool:
        """Tell whether the store was emptied since the last answer."""
        return self._epoch is not None and self._epoch != answer.epoch

    def must_read_all(self, answer: Answer, *, now: float) -> bool:
        """Tell whether the changes are not enough: the first time, and when they are of another history."""
        return (
            self._epoch != answer.epoch
            or not answer.pruned <= self.version <= answer.version
            or now >= self._reread_at
        )

    def expect_reread(self, *, now: float, after: float) -> None:
        """Let all be read soon."""
        self._reread_at = min(self._reread_at, now + after)

    def handle_answer(self, answer: Answer, *, now: float, reread: float, limit: int) -> None:
        """Note that all of an answer was taken in; all is read again after so many seconds."""
        if self.must_read_all(answer, now=now):
            self._epoch = answer.epoch
            self._reread_at = now + reread
            self.version = answer.version
        elif answer.is_partial(limit=limit):
            self.version = answer.reached
        else:
            self.version = answer.version
