"""From a ``POST /v1/realtime/calls`` to an SDP offer and what comes with it.

Clients send three shapes: the bare SDP (agents-js, the page here), ``multipart/form-data`` whose parts
may have no content type (the documented samples), and a JSON object (openai-python). All three are read
from a body that is whole and bounded. Whether the SDP makes sense is the service's question.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

import attrs

from voicegate.signalling.fault import RequestRefused
from voicegate.signalling.service import JSON

__all__ = ["MAX_CHANNEL_ID", "Offer", "read_data_channel_id", "read_json_object", "read_offer"]

MAX_PARTS: Final = 16
"""Two are meant; the rest is room for fields that clients add, and a bound for work."""

MAX_CHANNEL_ID: Final = 1023
"""A channel is a pair of SCTP streams; browsers use no more than 1024 of each, and we take no more."""

_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
"""RFC 2046 §5.1.1: at most 70 characters."""

_PART_NAME: Final = re.compile(
    rb'^content-disposition:[ \t]*form-data[^\r\n]*?;[ \t]*name=(?:"([^"\r\n]*)"|([^\s;"]+))',
    re.IGNORECASE | re.MULTILINE,
)


@attrs.frozen(kw_only=True)
class Offer:
    """What a client asks for."""

    sdp: str
    session: Mapping[str, JSON] | None = None


def read_offer(content_type: str, body: bytes) -> Offer:
    """Read an offer in whichever of the three shapes it came.

    Errors: RequestRefused (400 or 415) naming what is wrong, and nothing else, for any input.
    """
    match content_type.partition(";")[0].strip().lower():
        case "application/sdp":
            return Offer(sdp=_sdp(body))
        case "multipart/form-data":
            parts = _read_parts(content_type, body)
            if "sdp" not in parts:
                raise _invalid("The form has no field named sdp.", param="sdp")
            return Offer(sdp=_sdp(parts["sdp"]), session=_session(parts.get("session")))
        case "application/json":
            return _read_json_offer(body)
        case other:
            raise RequestRefused(
                f"Content-Type {other or '(none)'!r} is not one of application/sdp, multipart/form-data "
                "and application/json.",
                status=415,
                code="unsupported_content_type",
            )


def read_data_channel_id(values: Sequence[str]) -> int | None:
    """Read the query parameter ``dcid``, of which there may be one.

    Errors: RequestRefused (400), for any input.
    """
    if not values:
        return None
    # Five digits are enough, and int() refuses thousands of them.
    digits = values[0] if len(values[0]) <= len(str(MAX_CHANNEL_ID)) else ""
    is_number = digits.isascii() and digits.isdigit() and int(digits) <= MAX_CHANNEL_ID
    if len(values) > 1 or not is_number:
        message = f"dcid is not one number from 0 to {MAX_CHANNEL_ID}, the id of a data channel."
        raise _invalid(message, code="invalid_parameter", param="dcid")
    return int(digits)


def read_json_object(body: bytes) -> dict[str, Any]:
    """Read a body that is one JSON object.

    Errors: RequestRefused (400), for any input.
    """
    fields = _json(body, param=None)
    if not isinstance(fields, dict):
        raise _invalid("The body is not a JSON object.", code="invalid_json")
    return fields


def _read_json_offer(body: bytes) -> Offer:
    fields = read_json_object(body)
    sdp = fields.get("sdp")
    session = fields.get("session")
    if not isinstance(sdp, str):
        raise _invalid("The body has no string named sdp.", param="sdp")
    if session is not None and not isinstance(session, dict):
        raise _invalid("session is not a JSON object.", code="invalid_json", param="session")
    return Offer(sdp=_sdp(sdp.encode()), session=session)


def _read_parts(content_type: str, body: bytes) -> dict[str, bytes]:
    """Split a form into its fields, by name (RFC 7578 §4; RFC 2046 §5.1.1).

    Our own dozen lines rather than a streaming parser: the body is already whole, and the parsers at hand log
    what strangers send, or decode by a codec that the sender names.
    """
    boundary = _BOUNDARY.search(content_type)
    if boundary is None:
        raise _invalid("multipart/form-data without a boundary.", code="invalid_form")
    delimiter = b"\r\n--" + (boundary[1] or boundary[2]).encode("latin-1")
    _preamble, *chunks = (b"\r\n" + body).split(delimiter, MAX_PARTS + 1)
    parts: dict[str, bytes] = {}
    for chunk in chunks:
        if chunk.startswith(b"--"):
            return parts
        # Padding after the delimiter, then headers; what follows the empty line is content as it is.
        head, has_content, content = chunk.lstrip(b" \t").partition(b"\r\n\r\n")
        name = _PART_NAME.search(head)
        if not has_content or name is None:
            raise _invalid("A part of the form has no name.", code="invalid_form")
        field = (name[1] or name[2] or b"").decode("latin-1")
        if field in parts:
            raise _invalid("The form names a field twice.", code="invalid_form", param=field[:64])
        parts[field] = content
    raise _invalid(f"The form does not end, or has more than {MAX_PARTS} parts.", code="invalid_form")


def _sdp(body: bytes) -> str:
    try:
        sdp = body.decode()
    except UnicodeDecodeError as error:
        raise _invalid("The SDP is not UTF-8.", param="sdp") from error
    if not sdp.startswith("v=0"):
        raise _invalid("The SDP does not start with v=0." if sdp else "The SDP is empty.", param="sdp")
    return sdp


def _session(part: bytes | None) -> Mapping[str, JSON] | None:
    if part is None:
        return None
    session = _json(part, param="session")
    if not isinstance(session, dict):
        raise _invalid("session is not a JSON object.", code="invalid_json", param="session")
    return session


def _json(body: bytes, *, param: str | None) -> JSON:
    try:
        value: JSON = json.loads(body.decode(), parse_constant=_refuse_constant)
        # A lone surrogate in an escape makes a str that cannot be written anywhere later on.
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise _invalid("The JSON is not valid.", code="invalid_json", param=param) from error
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON (RFC 8259 §6)")


def _invalid(message: str, *, code: str = "invalid_offer", param: str | None = None) -> RequestRefused:
    return RequestRefused(message, status=400, code=code, param=param)
