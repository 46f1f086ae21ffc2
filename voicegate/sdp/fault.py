"""What is wrong with an offer, said so that whoever wrote the client finds the line."""

from collections.abc import Callable
from typing import Final, Self, TypeVar

from voicegate.errors import PeerError, WireError
from voicegate.sdp.grammar import Attribute, MediaDescription

__all__ = ["OfferError", "typed"]

T = TypeVar("T")

_MAX_QUOTE: Final = 80
"""Characters of the peer's line that a message repeats: enough to know it by."""


class OfferError(PeerError):
    """An offer that can't be answered; the message names the line."""

    def __init__(self, message: str, *, code: str, param: str | None = "sdp") -> None:
        super().__init__(message)
        self.code = code
        """``invalid_offer``: it breaks a rule; ``unsupported_offer``: it asks for what is not done here;
        ``no_data_section``: the request names a data channel, and there is nothing to carry it."""
        self.param = param
        """Which parameter of the request is at fault."""

    @classmethod
    def invalid(cls, where: Attribute | MediaDescription | None, problem: str) -> Self:
        """Say that the offer breaks a rule at this line, or as a whole."""
        return cls(_located(where, problem), code="invalid_offer")

    @classmethod
    def unsupported(cls, where: Attribute | MediaDescription | None, problem: str) -> Self:
        """Say that the offer asks, at this line or as a whole, for what this server does not do."""
        return cls(_located(where, problem), code="unsupported_offer")

    @classmethod
    def no_data(cls, where: MediaDescription | None, problem: str) -> Self:
        """Say that the offer has no room for the data channel that the request names."""
        return cls(_located(where, problem), code="no_data_section", param="dcid")


def typed(attribute: Attribute, decode: Callable[[str], T]) -> T:
    """Decode the value of an offered attribute.

    Errors: OfferError, naming the attribute's line.
    """
    try:
        return decode(attribute.value or "")
    except WireError as error:
        raise OfferError.invalid(attribute, str(error)) from error


def _located(where: Attribute | MediaDescription | None, problem: str) -> str:
    if where is None:
        return f"the offer: {problem}"
    quote = where.text if len(where.text) <= _MAX_QUOTE else f"{where.text[:_MAX_QUOTE]}..."
    return f"line {where.number} ({quote}): {problem}"
