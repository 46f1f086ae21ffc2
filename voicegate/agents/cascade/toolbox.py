"""Tools of MCP servers, run by us: the operator's servers, and those that a client names if it may."""

import json
import math
import os
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, NamedTuple

import attrs
import httpx2
import structlog
import trio

from voicegate.agents.cascade.chat import ToolCall
from voicegate.agents.cascade.options import CascadeOptions, McpServer
from voicegate.errors import UsageError
from voicegate.wire.json_value import JSON, JSONObject

__all__ = ["McpTool", "Toolbox", "ToolResult", "open_toolbox", "require_mcp"]

MAX_SERVERS: Final = 16
"""Of one call; each is a connection."""

MAX_TOOLS: Final = 128
"""Of one server; chat models take no more in all."""

MAX_OUTPUT: Final = 64 * 1024
"""Characters of a result that the model gets to see."""

_CONNECT_SECONDS: Final = 10.0
"""To connect and list the tools; the first answer waits for that."""

_CALL_SECONDS: Final = 60.0
"""For one call; the user has long given up then."""

_log = structlog.get_logger(__name__)


class McpTool(NamedTuple):
    """A tool that the model may use."""

    server: str
    name: str
    needs_approval: bool


class ToolResult(NamedTuple):
    """What a tool has returned."""

    output: str
    error: str | None


@attrs.define
class _Server:
    settings: McpServer
    headers: dict[str, str]
    allowed: frozenset[str] | None
    asks: JSON
    """``require_approval`` as the API has it."""
    is_operators: bool
    client: Any = None
    tools: list[Any] = attrs.field(factory=list)
    error: str | None = None
    ready: trio.Event = attrs.field(factory=trio.Event)
    closing: trio.Event = attrs.field(factory=trio.Event)

    @property
    def usable(self) -> list[Any]:
        """The tools that the model is offered."""
        return [each for each in self.tools if self.allowed is None or each.name in self.allowed]


class Toolbox:
    """The tools of one call."""

    def __init__(self, options: CascadeOptions, nursery: trio.Nursery) -> None:
        self._options = options
        self._nursery = nursery
        self._servers: dict[str, _Server] = {}
        self._refused: dict[str, str] = {}
        self._news: list[JSONObject] = []
        for settings in options.mcp:
            allowed = _allowed(settings.allowed_tools)
            self._open(settings, asks=settings.require_approval, is_operators=True, allowed=allowed)

    def follow(self, tools: JSON) -> None:
        """Use the MCP servers that a session names, if that is allowed.

        The operator's servers are there anyway; a client that names one, by its label as ``connector_id``,
        can want fewer of its tools, and be asked.
        """
        wanted = {
            str(tool.get("connector_id") or tool.get("server_label")): tool
            for tool in (tools if isinstance(tools, list) else [])
            if isinstance(tool, Mapping) and tool.get("type") == "mcp"
        }
        for label, tool in wanted.items():
            server = self._servers.get(label)
            if server is not None and server.is_operators:
                allowed = _allowed(tool.get("allowed_tools"))
                own = _allowed(server.settings.allowed_tools)
                server.allowed = own if allowed is None else allowed if own is None else own & allowed
                if server.settings.require_approval == "never" and "require_approval" in tool:
                    server.asks = tool["require_approval"]
            elif server is None:
                self._open_clients(label, tool)
        for label in [each for each, server in self._servers.items() if not server.is_operators]:
            if label not in wanted:
                self._servers.pop(label).closing.set()

    async def wait_ready(self) -> None:
        """Wait until all servers have told their tools, or failed to."""
        for server in list(self._servers.values()):
            await server.ready.wait()

    def functions(self) -> list[JSON]:
        """Return the tools as chat models want them."""
        return [
            {
                "type": "function",
                "function": {
                    "name": _function_name(label, tool.name),
                    "description": tool.description or "",
                    "parameters": tool.input_schema,
                },
            }
            for label, server in self._servers.items()
            for tool in server.usable
        ]

    def find(self, function_name: str) -> McpTool | None:
        """Return the tool behind a function, if it is one of ours."""
        for label, server in self._servers.items():
            for tool in server.usable:
                if _function_name(label, tool.name) == function_name:
                    return McpTool(label, tool.name, _needs_approval(server.asks, tool.name))
        return None

    def take_news(self) -> list[JSONObject]:
        """Return the ``mcp_list_tools`` items that the client has not been shown."""
        news, self._news = self._news, []
        return news

    async def run(self, tool: McpTool, call: ToolCall) -> ToolResult:
        """Have a tool run; what goes wrong is part of the result, for the model to see."""
        server = self._servers.get(tool.server)
        if server is None or server.client is None:
            return ToolResult("", f"{tool.server} is not connected")
        try:
            arguments = json.loads(call.arguments or "{}")
            with trio.fail_after(_CALL_SECONDS):
                result = await server.client.call_tool(tool.name, arguments)
        except trio.TooSlowError:
            return ToolResult("", f"{tool.name} took too long")
        except Exception as fault:  # a library's and a stranger's: any of them is a result
            return ToolResult("", _describe(fault))
        output = "\n".join(_content_text(part) for part in result.content)[:MAX_OUTPUT]
        return ToolResult("", output or "failed") if result.is_error else ToolResult(output, None)

    # Internals

    def _open_clients(self, label: str, tool: JSONObject) -> None:
        url = tool.get("server_url")
        if not self._options.allows_client_mcp or not isinstance(url, str):
            if label not in self._refused:
                self._refused[label] = "this server connects to no MCP servers that clients name"
                self._tell(label, [], self._refused[label])
            return
        given = tool.get("headers")
        headers = {str(key): str(given[key]) for key in given} if isinstance(given, Mapping) else {}
        if isinstance(token := tool.get("authorization"), str):
            headers["authorization"] = f"Bearer {token}"
        settings = McpServer(label=label, url=url)
        self._open(
            settings,
            asks=tool.get("require_approval", "always"),
            is_operators=False,
            headers=headers,
            allowed=_allowed(tool.get("allowed_tools")),
        )

    def _open(
        self,
        settings: McpServer,
        *,
        asks: JSON,
        is_operators: bool,
        headers: dict[str, str] | None = None,
        allowed: frozenset[str] | None = None,
    ) -> None:
        if len(self._servers) >= MAX_SERVERS:
            return
        headers = headers or {}
        if settings.key is not None and settings.url:
            headers["authorization"] = f"Bearer {os.environ.get(settings.key, '')}"
        server = _Server(settings, headers, allowed, asks, is_operators)
        self._servers[settings.label] = server
        self._nursery.start_soon(self._keep, server)

    async def _keep(self, server: _Server) -> None:
        """Be connected to a server while the call lasts; one that fails is done without."""
        label = server.settings.label
        try:
            with trio.fail_after(_CONNECT_SECONDS) as scope:
                async with AsyncExitStack() as stack:
                    server.client = await _connect(server, stack)
                    server.tools = await _list_tools(server.client)
                    self._tell(label, server.usable, None)
                    server.ready.set()
                    scope.deadline = math.inf
                    await server.closing.wait()
        except Exception as fault:  # whatever it is, the call goes on without its tools
            _log.warning("MCP server failed", server=label, error=_describe(fault))
            if not server.ready.is_set():
                self._tell(label, [], _describe(fault))
        finally:
            server.client, server.tools = None, []
            server.ready.set()

    def _tell(self, label: str, tools: Sequence[Any], error: str | None) -> None:
        item: dict[str, JSON] = {"type": "mcp_list_tools", "server_label": label}
        item["tools"] = [
            {"name": each.name, "description": each.description, "input_schema": each.input_schema}
            for each in tools
        ]
        if error is not None:
            item["error"] = error
        self._news.append(item)


@asynccontextmanager
async def open_toolbox(options: CascadeOptions) -> AsyncIterator[Toolbox]:
    """Have tools for the length of a call."""
    async with trio.open_nursery() as nursery:
        yield Toolbox(options, nursery)
        nursery.cancel_scope.cancel()


def require_mcp() -> None:
    """Load the library that speaks to MCP servers.

    Errors: UsageError when it is not installed.
    """
    try:
        import mcp.client.streamable_http  # noqa: F401 - needed when a call begins
    except ImportError as fault:  # pragma: no cover - comes with the test dependencies
        raise UsageError("MCP needs the mcp library: pip install 'voicegate-server[cascade]'") from fault


async def _connect(server: _Server, stack: AsyncExitStack) -> Any:  # noqa: ANN401 - loaded late
    import mcp
    from mcp.client.streamable_http import streamable_http_client

    settings = server.settings
    if settings.url:
        timeout = httpx2.Timeout(_CONNECT_SECONDS, read=_CALL_SECONDS)
        http = await stack.enter_async_context(httpx2.AsyncClient(headers=server.headers, timeout=timeout))
        return await stack.enter_async_context(
            mcp.Client(streamable_http_client(settings.url, http_client=http))
        )
    environment = {settings.key: os.environ.get(settings.key, "")} if settings.key else None
    program = mcp.StdioServerParameters(
        command=settings.command[0], args=list(settings.command[1:]), env=environment
    )
    return await stack.enter_async_context(mcp.Client(program))


async def _list_tools(client: Any) -> list[Any]:  # noqa: ANN401
    tools: list[Any] = []
    cursor = None
    while len(tools) < MAX_TOOLS:
        page = await client.list_tools(cursor=cursor)
        tools += page.tools
        cursor = page.next_cursor
        if cursor is None or not page.tools:
            break
    return tools[:MAX_TOOLS]


def _function_name(label: str, tool: str) -> str:
    """Functions of all servers share one space of names, of these characters and 64 of them."""
    return re.sub(r"[^A-Za-z0-9_-]", "_", f"{label}__{tool}")[:64]


def _allowed(names: JSON) -> frozenset[str] | None:
    if isinstance(names, Mapping):
        names = names.get("tool_names")
    return frozenset(map(str, names)) if isinstance(names, list | tuple) else None


def _needs_approval(asks: JSON, name: str) -> bool:
    """Read ``require_approval``: a word, or filters for either."""
    if isinstance(asks, Mapping):
        always, never = (_allowed(asks.get(key)) or frozenset() for key in ("always", "never"))
        return name in always or name not in never
    return bool(asks != "never")


def _content_text(part: Any) -> str:  # noqa: ANN401
    text = getattr(part, "text", None)
    return text if isinstance(text, str) else f"[{getattr(part, 'type', 'content')}]"


def _describe(fault: BaseException) -> str:
    while isinstance(fault, BaseExceptionGroup):
        fault = fault.exceptions[0]
    return (str(fault) or type(fault).__name__)[:200]
