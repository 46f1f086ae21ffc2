"""The OpenAPI description of all routes, made from the routes themselves."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from importlib.metadata import version
from typing import Any, Final

from voicegate.signalling.api import Access, Endpoint, SocketEndpoint

__all__ = ["describe"]

_KEY: Final = "key"
_ERROR: Final = {
    "type": "object",
    "required": ["error"],
    "additionalProperties": False,
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "code", "message", "param"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["invalid_request_error", "server_error"]},
                "code": {"type": "string"},
                "message": {"type": "string", "minLength": 1},
                "param": {"type": ["string", "null"]},
            },
        }
    },
}
_COMMON_ERRORS: Final = (403, 421)
"""A page of a wrong origin, a wrong host: before any handler."""
_KEY_ERRORS: Final = (401,)
_WITH_RETRY_AFTER: Final = (429, 503)


def describe(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """Return the description of these routes, in OpenAPI 3.1."""
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "voicegate",
            "version": version("voicegate-server"),
            "description": "Voice calls with AI: WebRTC in front, plain audio behind.",
        },
        "paths": paths,
        "components": {
            "schemas": {"Error": _ERROR},
            "securitySchemes": {
                _KEY: {"type": "http", "scheme": "bearer", "description": "An API key or a client secret."}
            },
        },
    }


def _operation(endpoint: Endpoint) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": endpoint.summary,
        "operationId": f"{endpoint.method.lower()} {endpoint.path}",
        "responses": _responses(endpoint),
        # Where no key is configured, none is asked for.
        "security": [] if endpoint.access is Access.OPEN else [{}, {_KEY: []}],
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in endpoint.param_convertors
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in endpoint.query.items()
    ]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body:
        operation["requestBody"] = {"content": _content(endpoint.body)}
    if isinstance(endpoint, SocketEndpoint):
        operation["description"] = "A WebSocket: each text message is one JSON event."
    return operation


def _responses(endpoint: Endpoint) -> dict[str, Any]:
    responses: dict[str, Any] = {}
    for status, content in endpoint.answers.items():
        described: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        responses[str(status)] = described
        if content:
            described["content"] = _content(content)
        if endpoint.headers:
            described["headers"] = {
                name: {"description": text, "schema": {"type": "string"}}
                for name, text in endpoint.headers.items()
            }
    by_access = () if endpoint.access is Access.OPEN else _KEY_ERRORS
    for status in sorted({*endpoint.errors, *by_access, *_COMMON_ERRORS}):
        described = {
            "description": HTTPStatus(status).phrase,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
        }
        responses[str(status)] = described
        if status in _WITH_RETRY_AFTER:
            described["headers"] = {"Retry-After": {"description": "Seconds", "schema": {"type": "string"}}}
    return responses


def _content(by_type: Mapping[str, Any]) -> dict[str, Any]:
    return {content_type: {"schema": schema} for content_type, schema in by_type.items()}
