"""The page to try a call with: static files, read once, and the headers that keep it to itself."""

import html
import mimetypes
from collections.abc import Sequence
from importlib import resources
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from voicegate.signalling.api import Access, Api, Endpoint
from voicegate.signalling.fault import RequestRefused

__all__ = ["PageFiles", "routes"]

_HEADERS: Final = {
    # Nothing but our own files, no inline script, and nobody may frame the page to borrow its microphone.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "media-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Permissions-Policy": "microphone=(self)",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
}

_AGENT_MARK: Final = "{{agent}}"
_STATIC: Final = ("app.js", "call.js", "messages.js", "meter.js", "timeline.js", "style.css", "icon.svg")


class PageFiles:
    """The files of the page, held in memory."""

    def __init__(self, *, agent_name: str) -> None:
        folder = resources.files("voicegate.signalling") / "web"
        index = (folder / "index.html").read_text(encoding="utf-8")
        self._index = index.replace(_AGENT_MARK, html.escape(agent_name))
        self._static = {name: (folder / name).read_bytes() for name in _STATIC}

    def index(self) -> Response:
        """Serve the page itself."""
        return Response(self._index, media_type="text/html", headers=_HEADERS)

    def static(self, name: str) -> Response | None:
        """Serve one of the files it loads; None for a name that is not among them."""
        content = self._static.get(name)
        if content is None:
            return None
        return Response(content, media_type=mimetypes.guess_type(name)[0], headers=_HEADERS)


def routes(api: Api) -> Sequence[Endpoint]:
    """Return the routes of the page."""
    files = PageFiles(agent_name=api.service.agent_name)

    async def get_page(_request: Request) -> Response:
        return files.index()

    async def get_static(request: Request) -> Response:
        response = files.static(request.path_params["name"])
        if response is None:
            raise RequestRefused("There is nothing at this path.", status=404, code="not_found")
        return response

    return [
        Endpoint(
            "/",
            get_page,
            summary="The page to try a call with.",
            access=Access.OPEN,
            answers={200: {"text/html": {"type": "string"}}},
        ),
        Endpoint(
            "/static/{name}",
            get_static,
            summary="A file of the page.",
            access=Access.OPEN,
            answers={200: {"text/javascript": {}, "text/css": {}, "image/svg+xml": {}}},
            errors=(404,),
        ),
    ]
