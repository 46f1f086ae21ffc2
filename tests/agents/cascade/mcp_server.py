"""An MCP server with two tools, over standard input and output: run it with ``python -m``.

With an argument, over HTTP at that port of this machine.
"""

import sys

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
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
