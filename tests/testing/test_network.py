import json
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from voicegate.testing.network import Namespace, NamespaceError, open_namespace

_ECHO_ONCE = """
import socket
with socket.create_server(("10.77.0.1", 7777)) as server:
    print("ready", end="", flush=True)
    with server.accept()[0] as client:
        client.sendall(client.recv(100).upper())
"""

_SEND_DATAGRAM = """
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
    ours.sendto(b"from inside", ("10.77.0.1", 5555))
"""


@asynccontextmanager
async def open_in_time() -> AsyncIterator[Namespace]:
    with trio.fail_after(120):  # many times what it takes
        async with open_namespace() as namespace:
            yield namespace


async def test_a_server_inside_is_reached_through_the_namespace() -> None:
    async with open_in_time() as namespace:
        command = namespace.wrap([sys.executable, "-c", _ECHO_ONCE])
        server = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
        assert server.stdout is not None
        async with server.stdout:
            assert await server.stdout.receive_some() == b"ready"
            async with await namespace.open_tcp_stream(namespace.address, 7777) as stream:
                await stream.send_all(b"hello")
                assert await stream.receive_some() == b"HELLO"
            assert await server.wait() == 0


async def test_a_socket_made_inside_serves_what_is_inside() -> None:
    async with open_in_time() as namespace:
        with namespace.make_socket(socket.SOCK_DGRAM) as served:
            await served.bind((namespace.address, 5555))
            await trio.run_process(namespace.wrap([sys.executable, "-c", _SEND_DATAGRAM]))
            data, source = await served.recvfrom(100)
    assert (data, source[0]) == (b"from inside", "10.77.0.1")


async def test_the_only_interface_is_loopback() -> None:
    async with open_in_time() as namespace:
        listed = await trio.run_process(
            namespace.wrap(["/usr/sbin/ip", "-j", "address"]), capture_stdout=True
        )
    (interface,) = json.loads(listed.stdout)
    addresses = [info["local"] for info in interface["addr_info"] if info["family"] == "inet"]
    assert (interface["ifname"], addresses) == ("lo", ["127.0.0.1", "10.77.0.1"])


async def test_a_wrapped_command_keeps_its_process_id() -> None:
    async with open_in_time() as namespace:
        program = namespace.wrap([sys.executable, "-c", "import os; print(os.getpid())"])
        process = await trio.lowlevel.open_process(program, stdout=subprocess.PIPE)
        assert process.stdout is not None
        async with process.stdout:
            assert int(await process.stdout.receive_some()) == process.pid
            await process.wait()


async def test_namespaces_do_not_see_each_other() -> None:
    async with open_in_time() as one, open_in_time() as other:
        with one.make_socket() as listener:
            await listener.bind((one.address, 8080))
            listener.listen()
            async with await one.open_tcp_stream(one.address, 8080):
                pass
            with pytest.raises(ConnectionRefusedError):
                await other.open_tcp_stream(other.address, 8080)


async def test_a_socket_outlives_the_block_but_no_more_are_made() -> None:
    async with open_in_time() as namespace:
        made = namespace.make_socket()
    with made, pytest.raises(NamespaceError, match="gone"):
        namespace.make_socket()


async def test_a_holder_that_was_killed_is_reported() -> None:
    async with open_in_time() as namespace:
        await trio.run_process(["kill", "-KILL", namespace.wrap([])[-2].removeprefix("--target=")])
        with pytest.raises(NamespaceError, match="gone"):
            namespace.make_socket()


async def test_cancellation_ends_the_holder() -> None:
    with trio.CancelScope() as scope:
        async with open_in_time() as namespace:
            scope.cancel()
            await trio.sleep_forever()
    enter = namespace.wrap(["true"])
    assert (await trio.run_process(enter, check=False, capture_stderr=True)).returncode != 0


async def test_a_missing_tool_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(NamespaceError, match="apt install util-linux"):
        async with open_in_time():
            pass


async def test_a_refusal_is_reported_in_the_words_of_the_tool(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unshare = tmp_path / "unshare"
    unshare.write_text("#!/bin/sh\necho 'unshare failed: Operation not permitted' >&2\nexit 1\n")
    unshare.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(NamespaceError, match="Operation not permitted"):
        async with open_in_time():
            pass
