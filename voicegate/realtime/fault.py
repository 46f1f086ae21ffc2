"""Why an event of the client is refused, in the words of the API."""

from voicegate.errors import WireError

__all__ = ["EventRefused"]


class EventRefused(WireError):  # noqa: N818 - a verdict rather than a failure
    """An event, or a session, that cannot be taken as it is; nothing has changed.

    Args:
        message: one sentence for the developer of the client.
        code: for its program.
        param: the path of the field that is at fault.
    """

    def __init__(self, message: str, *, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.param = param
