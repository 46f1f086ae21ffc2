"""The two protocols by which a browser is driven: DevTools for Chromium, WebDriver BiDi for Firefox.

Both are JSON over a WebSocket: numbered commands, their replies, and events in between. A `RemoteControl`
hides which one it is, and names a tab by a string that only it understands.
"""

import abc
import base64
import itertools
import json
from collections import defaultdict
from typing import Any, NamedTuple, TypeAlias

import attrs
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from voicegate.errors import VoicegateError

__all__ = ["RemoteControl", "DevTools", "WebDriverBidi", "BrowserError", "ConsoleMessage", "JSON"]

JSON: TypeAlias = Any
"""What `json.loads` makes of a browser's answer; whoever asked knows its shape."""


class BrowserError(VoicegateError):
    """The browser did not start, is gone, refused a command, or its page threw an exception."""


class ConsoleMessage(NamedTuple):
    """A line of a page's console; uncaught exceptions and failed requests are lines too."""

    level: str
    """``debug``, ``info``, ``warning`` or ``error``, or what else the browser calls it, such as ``log``."""
    text: str


@attrs.define(eq=False)
class _Reply:
    arrived: trio.Event = attrs.field(factory=trio.Event, init=False)
    message: dict[str, JSON] | None = attrs.field(default=None, init=False)


class RemoteControl(abc.ABC):
    """A browser at the other end of a WebSocket; `run` must be running for anything else to work.

    Every method is a checkpoint and raises BrowserError when the browser refuses or is gone.
    """

    endpoint_suffix: str = ""
    """What follows the address that the browser announces."""

    def __init__(self, websocket: WebSocketConnection, *, preload: str) -> None:
        self.consoles: defaultdict[str, list[ConsoleMessage]] = defaultdict(list)
        """Console messages so far, by tab."""
        self._websocket = websocket
        self._preload = preload
        self._numbers = itertools.count(1)
        self._replies: dict[int, _Reply] = {}
        self._is_gone = False

    async def run(self) -> None:
        """Take in what the browser sends, until it closes the connection."""
        try:
            while True:
                message = json.loads(await self._websocket.get_message())
                if "id" not in message:
                    self._handle_event(message)
                elif reply := self._replies.get(message["id"]):
                    reply.message = message
                    reply.arrived.set()
        except ConnectionClosed:
            self._handle_closed()

    async def _command(self, method: str, params: dict[str, JSON], **envelope: str) -> JSON:
        """Send a command and return its result."""
        number = next(self._numbers)
        reply = self._replies[number] = _Reply()
        try:
            if not self._is_gone:
                await self._websocket.send_message(
                    json.dumps({"id": number, "method": method, "params": params, **envelope})
                )
                await reply.arrived.wait()
        except ConnectionClosed:
            pass
        finally:
            del self._replies[number]
        if reply.message is None:
            raise BrowserError(f"the browser went away before it answered {method}")
        if "error" in reply.message:
            raise BrowserError(f"{method}: {self._explain(reply.message)}")
        return reply.message["result"]

    def _handle_closed(self) -> None:
        self._is_gone = True
        for reply in self._replies.values():
            reply.arrived.set()

    @abc.abstractmethod
    def _handle_event(self, message: dict[str, JSON]) -> None: ...

    @abc.abstractmethod
    def _explain(self, message: dict[str, JSON]) -> str:
        """Word a reply that reports an error."""

    @abc.abstractmethod
    async def start(self) -> str:
        """Begin the session; returns the browser's version."""

    @abc.abstractmethod
    async def open_tab(self) -> str:
        """Open an empty tab in which the preload script runs before each page's own scripts."""

    @abc.abstractmethod
    async def navigate(self, tab: str, url: str) -> None:
        """Load a page, with all that belongs to it."""

    @abc.abstractmethod
    async def evaluate(self, tab: str, source: str) -> str | None:
        """Evaluate JavaScript that gives a string, undefined, or a promise of one of these."""

    @abc.abstractmethod
    async def click(self, tab: str, x: int, y: int) -> None:
        """Press and release the left button, at CSS pixels from the corner of the viewport."""

    @abc.abstractmethod
    async def screenshot(self, tab: str) -> bytes:
        """Take a picture of the viewport, as PNG."""


class DevTools(RemoteControl):
    """Chromium's DevTools protocol; a tab is named by its session id."""

    def __init__(self, websocket: WebSocketConnection, *, preload: str) -> None:
        super().__init__(websocket, preload=preload)
        self._loads: defaultdict[str, trio.Event] = defaultdict(trio.Event)

    async def start(self) -> str:
        """Begin the session; returns the browser's version."""
        return str((await self._command("Browser.getVersion", {}))["product"])

    async def open_tab(self) -> str:
        """Open an empty tab in which the preload script runs before each page's own scripts."""
        target = (await self._command("Target.createTarget", {"url": "about:blank"}))["targetId"]
        attached = await self._command("Target.attachToTarget", {"targetId": target, "flatten": True})
        tab = str(attached["sessionId"])
        for method, params in (
            ("Page.enable", {}),
            ("Page.setLifecycleEventsEnabled", {"enabled": True}),
            ("Page.addScriptToEvaluateOnNewDocument", {"source": self._preload}),
            ("Runtime.enable", {}),
            ("Log.enable", {}),
        ):
            await self._command(method, params, sessionId=tab)
        return tab

    async def navigate(self, tab: str, url: str) -> None:
        """Load a page, with all that belongs to it."""
        result = await self._command("Page.navigate", {"url": url}, sessionId=tab)
        if "errorText" in result:
            raise BrowserError(result["errorText"])
        await self._loads[result["loaderId"]].wait()

    async def evaluate(self, tab: str, source: str) -> str | None:
        """Evaluate JavaScript that gives a string, undefined, or a promise of one of these."""
        result = await self._command(
            "Runtime.evaluate",
            {"expression": source, "awaitPromise": True, "returnByValue": True, "userGesture": True},
            sessionId=tab,
        )
        if "exceptionDetails" in result:
            raise BrowserError(_describe_exception(result["exceptionDetails"]))
        value: str | None = result["result"].get("value")
        return value

    async def click(self, tab: str, x: int, y: int) -> None:
        """Press and release the left button, at CSS pixels from the corner of the viewport."""
        for kind in ("mousePressed", "mouseReleased"):
            params = {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1}
            await self._command("Input.dispatchMouseEvent", params, sessionId=tab)

    async def screenshot(self, tab: str) -> bytes:
        """Take a picture of the viewport, as PNG."""
        return base64.b64decode((await self._command("Page.captureScreenshot", {}, sessionId=tab))["data"])

    def _explain(self, message: dict[str, JSON]) -> str:
        return str(message["error"]["message"])

    def _handle_closed(self) -> None:
        super()._handle_closed()
        for load in self._loads.values():
            load.set()

    def _handle_event(self, message: dict[str, JSON]) -> None:
        params, console = message["params"], self.consoles[message.get("sessionId", "")]
        match message["method"]:
            case "Page.lifecycleEvent" if params["name"] == "load":
                self._loads[params["loaderId"]].set()
            case "Runtime.consoleAPICalled":
                console.append(ConsoleMessage(params["type"], " ".join(map(_describe_value, params["args"]))))
            case "Runtime.exceptionThrown":
                console.append(ConsoleMessage("error", _describe_exception(params["exceptionDetails"])))
            case "Log.entryAdded":
                entry = params["entry"]
                text = f"{entry['text']} {entry.get('url', '')}".strip()
                console.append(ConsoleMessage(entry["level"], text))
            case _:
                pass  # DevTools tells of much more than anybody asked for


class WebDriverBidi(RemoteControl):
    """WebDriver BiDi, which Firefox speaks; a tab is named by its browsing context."""

    endpoint_suffix = "/session"

    async def start(self) -> str:
        """Begin the session; returns the browser's version."""
        capabilities = (await self._command("session.new", {"capabilities": {}}))["capabilities"]
        await self._command("session.subscribe", {"events": ["log.entryAdded"]})
        # Brackets, and a line end after a last comment, make any script the body of a function.
        await self._command(
            "script.addPreloadScript", {"functionDeclaration": f"() => {{\n{self._preload}\n}}"}
        )
        return f"{capabilities['browserName']}/{capabilities['browserVersion']}"

    async def open_tab(self) -> str:
        """Open an empty tab in which the preload script runs before each page's own scripts."""
        return str((await self._command("browsingContext.create", {"type": "tab"}))["context"])

    async def navigate(self, tab: str, url: str) -> None:
        """Load a page, with all that belongs to it."""
        await self._command("browsingContext.navigate", {"context": tab, "url": url, "wait": "complete"})

    async def evaluate(self, tab: str, source: str) -> str | None:
        """Evaluate JavaScript that gives a string, undefined, or a promise of one of these."""
        params = {
            "expression": source,
            "target": {"context": tab},
            "awaitPromise": True,
            "userActivation": True,
        }
        result = await self._command("script.evaluate", params)
        if result["type"] == "exception":
            raise BrowserError(result["exceptionDetails"]["text"])
        value: str | None = result["result"].get("value")
        return value

    async def click(self, tab: str, x: int, y: int) -> None:
        """Press and release the left button, at CSS pixels from the corner of the viewport."""
        press = [
            {"type": "pointerMove", "x": x, "y": y},
            {"type": "pointerDown", "button": 0},
            {"type": "pointerUp", "button": 0},
        ]
        mouse = {"type": "pointer", "id": "mouse", "actions": press}
        await self._command("input.performActions", {"context": tab, "actions": [mouse]})

    async def screenshot(self, tab: str) -> bytes:
        """Take a picture of the viewport, as PNG."""
        return base64.b64decode(
            (await self._command("browsingContext.captureScreenshot", {"context": tab}))["data"]
        )

    def _explain(self, message: dict[str, JSON]) -> str:
        return f"{message['error']}: {message['message']}"

    def _handle_event(self, message: dict[str, JSON]) -> None:
        params = message["params"]
        if message["method"] == "log.entryAdded" and "context" in params["source"]:
            level = params.get("method", params["level"])
            self.consoles[params["source"]["context"]].append(ConsoleMessage(level, params["text"] or ""))


def _describe_value(value: dict[str, JSON]) -> str:
    """Word a DevTools RemoteObject the way the console shows it."""
    return str(value["value"] if "value" in value else value.get("description", value["type"]))


def _describe_exception(details: dict[str, JSON]) -> str:
    """Word DevTools ExceptionDetails: the exception with its stack, where there is one."""
    return _describe_value(details["exception"]) if "exception" in details else str(details["text"])
