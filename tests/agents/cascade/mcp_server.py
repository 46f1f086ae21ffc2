"""An MCP server with two tools, over standard input and output: run it with ``python -m``.

With an argument, over HTTP at a free port of this machine; it says where.
"""

import socket
import sys

import uvicorn
from mcp.server import MCPServer

server = MCPServer("notes")


@server.tool()
def read_note(name: str) -> str:
    """Read a note."""
    if name == "lost":
        raise ValueError("there is no such note")
    return f"{name}: buy milk"


@server.tool()
def delete_note(name: str) -> str:
    """Delete a note for ever."""
    return f"deleted {name}"


if __name__ == "__main__":
    if sys.argv[1:]:
        listener = socket.create_server(("127.0.0.1", 0))
        print(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp", flush=True)  # noqa: T201
        config = uvicorn.Config(server.streamable_http_app(host="127.0.0.1"), log_level="warning")
        uvicorn.Server(config).run(sockets=[listener])
    else:
        server.run("stdio")
