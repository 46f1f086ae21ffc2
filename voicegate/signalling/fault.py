"""What a client did wrong, as an exception and as the JSON body it reads.

Every answer with a status of 400 or more has one shape, the one clients of the OpenAI API already parse:
``{"error": {"type", "code", "message", "param"}}``.
"""

from collections.abc import Mapping
from typing import Final

from starlette.responses import JSONResponse

from voicegate.errors import VoicegateError

__all__ = ["RequestRefused", "fault_body", "fault_response"]

_SERVER_FAULT: Final = 500


class RequestRefused(VoicegateError):  # noqa: N818 - a verdict rather than a failure
    """A request that is answered with an error status; raised anywhere below the application."""

    def __init__(
        self,
        message: str,
        *,
        status: int,
        code: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.headers = headers


def fault_body(*, status: int, code: str, message: str, param: str | None = None) -> dict[str, object]:
    """Lay out an error the one way clients may rely on."""
    kind = "server_error" if status >= _SERVER_FAULT else "invalid_request_error"
    return {"error": {"type": kind, "code": code, "message": message, "param": param}}


def fault_response(refused: RequestRefused) -> JSONResponse:
    """Answer a refused request."""
    body = fault_body(status=refused.status, code=refused.code, message=refused.message, param=refused.param)
    return JSONResponse(body, status_code=refused.status, headers=refused.headers)
