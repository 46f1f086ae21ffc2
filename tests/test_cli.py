"""``python -m voicegate`` as a shell runs it: real processes, signals and sockets."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import httpx2
import pytest
import trio

from tests.command_line import CommandLine
from tests.harness import hear_back, make_client
from tests.processes import children, command_of
from voicegate.testing import sound
from voicegate.testing.client import ClientState
from voicegate.testing.phone import open_phone

pytestmark = pytest.mark.slow

FREE = ("--http", "127.0.0.1:0", "--udp", "127.0.0.1:0")
GREETING = re.compile(r"open (http://\S+) and talk to (\S+)\nmedia on UDP (.+);")


@attrs.define
class Running:
    """A server in a process group of its own, as under a terminal."""

    process: trio.Process
    stderr: str = ""
    url: str = ""
    agent: str = ""
    udp: str = ""

    async def read(self) -> None:
        """Take all that it says until it ends."""
        assert self.process.stderr is not None
        async for chunk in self.process.stderr:
            self.stderr += chunk.decode()

    def look_for_greeting(self) -> None:
        """Take note of where it is, once it has said so."""
        if greeting := GREETING.search(self.stderr):
            self.url, self.agent, self.udp = greeting.groups()

    def signal(self, number: int) -> None:
        """Send a signal to all of the group, which is what Ctrl-C does."""
        os.killpg(self.process.pid, number)


@asynccontextmanager
async def start(*options: str, cwd: Path | None = None) -> AsyncIterator[Running]:
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "voicegate", "serve", *options],
        stderr=subprocess.PIPE,
        process_group=0,
        cwd=cwd,
    )
    running = Running(process)
    assert process.stderr is not None
    async with process.stderr:
        try:
            with trio.fail_after(240):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(running.read)
                    yield running
                    await process.wait()
        finally:
            with trio.CancelScope(shield=True):
                if process.returncode is None:
                    running.signal(signal.SIGKILL)
                await process.wait()


@asynccontextmanager
async def serve(*options: str, cwd: Path | None = None) -> AsyncIterator[Running]:
    """Run a server until it has said where it is; leaving waits for its end."""
    async with start(*options, cwd=cwd) as running:
        while not running.url:
            assert running.process.returncode is None, running.stderr
            await trio.sleep(0.02)
            running.look_for_greeting()
        yield running


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler of its own for a signal."""
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigCgt:")[2].split()[0], 16) >> number - 1 & 1)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def run(*arguments: str, cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "voicegate", *arguments],
        capture_output=True,
        text=True,
        timeout=240,
        cwd=cwd,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="session")
def command_line() -> Iterator[CommandLine]:
    running = CommandLine()
    yield running
    running.close()


async def get(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=None) as http:
        return await http.get(url)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_the_server_and_its_call_cleanly(number: int) -> None:
    async with serve(*FREE, "--agent", "echo", "--drain-seconds", "0") as server:
        assert (await get(f"{server.url}healthz")).status_code == 200
        relays = children(server.process.pid)
        assert relays
        async with open_phone(server.url, make_client()) as phone:
            await phone.wait_connected()
            server.signal(number)
            await phone.wait_until(lambda: phone.core.state is ClientState.CLOSED)
            assert await server.process.wait() == 0
        assert not any(map(is_alive, relays))
    assert "Traceback" not in server.stderr


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
async def test_after_sigterm_a_call_goes_on_until_a_second_signal(second: int) -> None:
    options = (*FREE, "--agent", "echo", "--drain-seconds", "600")  # a starved machine takes its time to talk
    async with serve(*options) as server, open_phone(server.url, make_client()) as phone:
        await phone.wait_connected()
        server.signal(signal.SIGTERM)
        while "draining: 1 left, for 600 s at most" not in server.stderr:
            await trio.sleep(0.02)
        assert (await get(f"{server.url}readyz")).status_code == 503
        assert (await get(f"{server.url}healthz")).status_code == 200
        await hear_back(phone, sound.speech_like(1.0))
        server.signal(second)
        await phone.wait_until(lambda: phone.core.state is ClientState.CLOSED)
        assert await server.process.wait() == 0
    assert "Traceback" not in server.stderr


async def test_a_server_is_drained_and_undrained_from_outside() -> None:
    async with serve(*FREE) as server:
        arguments = ("--url", server.url)
        status, said = await trio.to_thread.run_sync(run, "drain", "--seconds", "600", *arguments)
        assert (status, said) == (0, "The server takes no new calls; it has no calls\n")
        assert (await get(f"{server.url}readyz")).status_code == 503
        status, said = await trio.to_thread.run_sync(run, "drain", "--undo", *arguments)
        assert (status, said) == (0, "The server takes calls; it has no calls\n")
        assert (await get(f"{server.url}readyz")).status_code == 200
        server.signal(signal.SIGTERM)


def test_a_secret_is_made_anew_each_time() -> None:
    made = [run("secret", "new") for _ in range(2)]
    assert all(status == 0 and re.fullmatch(r"[\w-]{43}\n", said) for status, said in made)
    assert made[0] != made[1]


@pytest.mark.parametrize("role", ["relay", "transceiver"])
def test_a_machine_of_a_cluster_wants_its_secret_and_its_directory(
    role: str, command_line: CommandLine
) -> None:
    status, said = command_line.run(role)
    assert (status, said.count("\n")) == (2, 1)
    assert said.startswith(f"voicegate: secrets: a {role} has the cluster's secret")


def test_a_configuration_is_checked_and_shown(tmp_path: Path, command_line: CommandLine) -> None:
    (tmp_path / "bad.toml").write_text("worker = 3\nmax_calls = 0\n")
    status, said = command_line.run("config", "check", "bad.toml", cwd=tmp_path)
    assert status == 2
    assert said == (
        "error: bad.toml:1: unknown key 'worker'; did you mean workers?\n"
        "error: bad.toml:2: max_calls: a whole number from 1 on is wanted, not 0\n"
    )
    (tmp_path / "good.toml").write_text('agent = "echo"\nrelay_flows = 5\n')
    status, said = command_line.run("config", "check", "--role", "serve", "good.toml", cwd=tmp_path)
    assert (status, said) == (0, "good.toml is good for `voicegate serve`\n")
    status, said = command_line.run("config", "show", "good.toml", cwd=tmp_path)
    assert status == 0
    assert 'agent = "echo"  # good.toml\n' in said


@pytest.mark.parametrize("delay", [0.0, 0.4, 1.0])
async def test_a_signal_while_starting_leaves_no_traceback(delay: float) -> None:
    async with start(*FREE) as server:
        # Python catches SIGINT when it starts, our command line lets go of it; who was too late to see that
        # interrupts a server that runs.
        for is_caught in (True, False):
            while catches(server.process.pid, signal.SIGINT) is not is_caught and not server.url:
                await trio.sleep(0.005)
                server.look_for_greeting()
        await trio.sleep(delay)
        server.signal(signal.SIGINT)
        assert await server.process.wait() in {0, -signal.SIGINT}
    assert "Traceback" not in server.stderr


async def test_a_second_signal_does_no_harm() -> None:
    async with serve(*FREE) as server:
        relays = children(server.process.pid)
        server.signal(signal.SIGINT)
        await trio.sleep(0.05)
        server.signal(signal.SIGINT)
        assert await server.process.wait() in {0, -signal.SIGINT}
        assert not any(map(is_alive, relays))
    assert "Traceback" not in server.stderr


async def test_a_call_goes_over_ipv6() -> None:
    async with serve("--http", "[::1]:0", "--udp", "[::1]:0", "--agent", "echo") as server:
        assert server.url.startswith("http://[::1]:")
        assert server.udp.startswith("[::1]:")
        async with open_phone(server.url, make_client()) as phone:
            assert phone.core.server is not None
            assert phone.core.server.address == "::1"
            await phone.wait_connected()
            await hear_back(phone, sound.speech_like(1.0))
        server.signal(signal.SIGINT)


async def test_an_agent_beside_the_user_is_found(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "async def agent(call):\n"
        "    call.audio_out.send_nowait(b'\\0\\x10' * 48000)\n"
        "    await call.audio_out.drain()\n"
    )
    async with serve(*FREE, "--agent", "mine:agent", cwd=tmp_path) as server:
        assert server.agent == "mine:agent"
        async with open_phone(server.url, make_client()) as phone:
            await phone.wait_connected()
            # Returning hangs up.
            await phone.wait_until(lambda: phone.core.state is ClientState.CLOSED)
        assert sound.Sound.from_pcm(bytes(phone.core.heard), rate=sound.RATE).loudness > -40
        server.signal(signal.SIGINT)


async def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text('http = "127.0.0.1:0"\nudp = "127.0.0.1:0"\nagent = "parrot"\nmax_calls = 1\n')
    async with serve("--config", str(file), "--agent", "echo") as server:
        assert server.agent == "echo"
        async with open_phone(server.url, make_client()):
            with pytest.raises(AssertionError, match="503"):
                async with open_phone(server.url, make_client()):
                    pass
        server.signal(signal.SIGINT)


async def candidates(server: Running, transport: str = "udp") -> list[list[str]]:
    """Return the addresses and ports that an answer gives for UDP or TCP."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(
            f"{server.url}v1/realtime/calls",
            content=make_client().offer(),
            headers={"content-type": "application/sdp"},
        )
    lines = [line.split() for line in answer.text.splitlines() if line.startswith("a=candidate:")]
    return [line[4:6] for line in lines if line[2] == transport]


async def test_both_families_and_several_workers_make_one_server() -> None:
    options = ("--udp", "127.0.0.1:0", "[::1]:0", "--relay-workers", "2", "--agent", "echo")
    async with serve("--http", "127.0.0.1:0", *options) as server:
        told = [address.rpartition(":") for address in server.udp.split(" and ")]
        assert [host for host, _, _ in told] == ["127.0.0.1", "[::1]"]
        assert await candidates(server) == [[host.strip("[]"), port] for host, _, port in told]
        workers = [pid for pid in children(server.process.pid) if is_alive(pid)]
        assert len(workers) >= 2
        async with open_phone(server.url, make_client()) as phone:
            await phone.wait_connected()
            await hear_back(phone, sound.speech_like(1.0))
        server.signal(signal.SIGINT)
        await server.process.wait()
        assert not any(map(is_alive, workers))


async def test_an_advertised_address_has_the_port_of_its_family() -> None:
    options = ("--udp", "0.0.0.0:0", "--udp", "[::]:0", "--advertise", "2001:db8::7", "192.0.2.7")
    async with serve("--http", "127.0.0.1:0", *options) as server:
        four, six = (address.rpartition(":")[2] for address in server.udp.split(" and "))
        assert four != six
        assert await candidates(server) == [["2001:db8::7", six], ["192.0.2.7", four]]
        server.signal(signal.SIGINT)


async def test_tcp_is_where_it_is_told_to_be_and_advertised_with_its_own_ports() -> None:
    options = ("--udp", "127.0.0.1:0", "--tcp", "127.0.0.1:0", "[::1]:0", "--advertise", "192.0.2.7:5")
    async with serve("--http", "127.0.0.1:0", *options) as server:
        assert await candidates(server) == [["192.0.2.7", "5"]]
        ((host, port),) = await candidates(server, "tcp")
        assert host == "192.0.2.7"
        await (await trio.open_tcp_stream("127.0.0.1", int(port))).aclose()
        server.signal(signal.SIGINT)


async def test_tcp_is_advertised_like_udp_unless_it_has_addresses_of_its_own() -> None:
    options = ("--udp", "127.0.0.1:0", "--advertise", "192.0.2.7:5", "192.0.2.8:6")
    async with serve("--http", "127.0.0.1:0", *options) as server:
        assert await candidates(server, "tcp") == await candidates(server)
        server.signal(signal.SIGINT)


async def test_tcp_can_be_turned_off() -> None:
    async with serve("--http", "127.0.0.1:0", "--udp", "127.0.0.1:0", "--tcp", "off") as server:
        assert await candidates(server, "tcp") == []
        server.signal(signal.SIGINT)


async def test_what_is_advertised_is_what_clients_are_told() -> None:
    options = (
        "--advertise",
        "192.0.2.7",
        "198.51.100.7:5000",
        "2001:db8::7",
        "--advertise",
        "[2001:db8::8]:6000",
    )
    async with serve("--http", "127.0.0.1:0", "--udp", "0.0.0.0:0", *options) as server:
        port = server.udp.rpartition(":")[2]
        assert await candidates(server) == [
            ["192.0.2.7", port],
            ["198.51.100.7", "5000"],
            ["2001:db8::7", port],
            ["2001:db8::8", "6000"],
        ]
        server.signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("--http", "nowhere:80"), "'nowhere' is not an IP address"),
        (("--http", "127.0.0.1:70000"), "a port from 0 to 65535"),
        (("--udp", "127.0.0.1"), "a port from 0 to 65535"),
        (("--udp", "192.0.2.1:3478", "--http", "127.0.0.1:0"), "192.0.2.1"),
        (("--http", "192.0.2.1:80", "--udp", "127.0.0.1:0"), "192.0.2.1:80"),
        (("--http", "0.0.0.0:0"), "`voicegate key new`"),
        (("--http", "0.0.0.0:0"), "--insecure-no-auth"),
        (("--udp", "0.0.0.0:0"), "--advertise"),
        (("--udp", "127.0.0.1:0", "--tcp", "0.0.0.0:0"), "--advertise"),
        (
            ("--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tcp", "192.0.2.1:443"),
            "cannot bind TCP 192.0.2.1",
        ),
        (("--tls-key", "key.pem"), "tls_certificate"),
        (
            ("--udp", "127.0.0.1:0", "--http", "127.0.0.1:0", "--tls-certificate", "nowhere.pem"),
            "cannot take TLS from nowhere.pem",
        ),
        (("--udp", "127.0.0.1:1", "127.0.0.1:2"), "one address for IPv4 and one for IPv6 at most"),
        (("--relay-workers", "0"), "relay_workers"),
        (("--workers", "0"), "workers"),
        (("--udp", "[::]:0"), "--advertise"),
        (("--advertise", "0.0.0.0"), "advertise 0.0.0.0: clients cannot send to a wildcard"),
        ((*FREE, "--agent", "nobody"), "'nobody': neither one of echo, parrot, transcode nor"),
        ((*FREE, "--agent", "nowhere:agent"), "No module named 'nowhere'"),
        ((*FREE, "--agent", "json:dumps"), "json has no `async def dumps(call)`"),
        ((*FREE, "--agent", "[bold]x[/]"), "'[bold]x[/]'"),
        (("--config", "missing.toml"), "missing.toml"),
        (("--config", "unknown.toml"), "unknown.toml:1: unknown key 'htpp'; did you mean http?"),
        (("--config", "broken.toml"), "broken.toml"),
        (("--config", "typed.toml"), "typed.toml"),
    ],
)
def test_a_mistake_is_one_line_that_names_it(
    tmp_path: Path, options: tuple[str, ...], fault: str, command_line: CommandLine
) -> None:
    (tmp_path / "unknown.toml").write_text("htpp = 1")
    (tmp_path / "broken.toml").write_text("http = ")
    (tmp_path / "typed.toml").write_text("max_calls = 'many'")
    status, said = command_line.run("serve", *options, cwd=tmp_path)
    assert status == 2
    assert said.startswith("voicegate: ")
    assert said.count("\n") == 1
    assert fault in said


@pytest.mark.parametrize(
    ("option", "other", "kind"),
    [("--http", "--udp", socket.SOCK_STREAM), ("--udp", "--http", socket.SOCK_DGRAM)],
)
def test_an_address_in_use_is_named(
    option: str, other: str, kind: socket.SocketKind, command_line: CommandLine
) -> None:
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            taken.listen()
        port = taken.getsockname()[1]
        status, said = command_line.run("serve", option, f"127.0.0.1:{port}", other, "127.0.0.1:0")
    assert status == 2
    assert said.count("\n") == 1
    assert str(port) in said
    assert "in use" in said


@pytest.mark.parametrize("options", [("--log-level", "loud"), ("--nonsense",), ("extra",)])
def test_an_option_that_is_none_is_named(options: tuple[str, ...], command_line: CommandLine) -> None:
    status, said = command_line.run("serve", *options)
    assert status == 2
    assert options[-1] in said
    assert "Traceback" not in said


def test_help_and_version_are_there() -> None:
    status, said = run("serve", "--help")
    assert status == 0
    assert "--advertise" in said
    status, said = run("--version")
    assert status == 0
    assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", said)
    assert said != "0.0.0\n"


def test_targets_to_fuzz_are_listed() -> None:
    status, said = run("fuzz", "--list")
    assert status == 0
    assert "ice.stun.Message.decode\n" in said


def test_fuzzing_a_sound_target_is_clean(tmp_path: Path) -> None:
    status, said = run(
        "fuzz", "wire.demux.classify", "--seconds", "0.5", "--engine", "mutation", cwd=tmp_path
    )
    assert status == 0
    assert re.search(r"wire\.demux\.classify mutation: \d+ runs", said)
    assert list(tmp_path.iterdir()) == []


def test_fuzzing_a_broken_target_ends_with_the_command_that_shows_it_again(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def target(data):\n    assert not data, 'said'\n")
    status, said = run("fuzz", "mine:target", "--engine", "mutation", "--findings", "found", cwd=tmp_path)
    assert status == 1
    assert "AssertionError: said" in said
    (again,) = re.findall(r"again: voicegate (.+)", said)
    status, said = run(*again.split(), cwd=tmp_path)
    assert status == 1
    assert "AssertionError: said" in said


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        (("stunn",), "did you mean ice.stun.Message.decode?"),
        ((), "--list"),
        (("wire", "--seconds", "0"), "--seconds"),
        (("wire", "--replay", "nowhere"), "nowhere does not exist"),
    ],
)
def test_a_mistake_in_what_to_fuzz_is_one_line(
    options: tuple[str, ...], fault: str, command_line: CommandLine
) -> None:
    status, said = command_line.run("fuzz", *options)
    assert status == 2
    assert said.startswith("voicegate: ")
    assert said.count("\n") == 1
    assert fault in said


def test_a_campaign_that_is_interrupted_leaves_nothing_running() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "voicegate", "fuzz", "wire.demux", "--seconds", "600", "--engine", "mutation"],
        stderr=subprocess.PIPE,
        process_group=0,
    ) as process:
        try:
            # Before that it ends like any program; and it looks for libraries by programs of others.
            while not (
                workers := [
                    pid for pid in children(process.pid) if "voicegate.testing.fuzz.worker" in command_of(pid)
                ]
            ):
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            assert process.wait(240) == 130
            assert not any(map(is_alive, workers))
        finally:
            process.kill()


async def test_a_key_that_was_made_opens_a_server_that_knows_only_its_hash(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "voicegate", "key", "new", "web"]
    made = await trio.run_process(command, capture_stdout=True, capture_stderr=True)
    key, told = made.stdout.decode().strip(), made.stderr.decode()
    assert key.startswith("vg_")
    assert key not in told
    table = told[told.index("[[keys]]") : told.index("The key itself")]
    file = tmp_path / "voicegate.toml"
    file.write_text(table)
    async with serve("--http", "0.0.0.0:0", "--udp", "127.0.0.1:0", "--config", str(file)) as server:
        assert (await get(f"{server.url}metrics")).status_code == 401
        async with httpx2.AsyncClient(trust_env=False) as http:
            response = await http.get(f"{server.url}metrics", headers={"Authorization": f"Bearer {key}"})
            assert response.status_code == 200
        server.signal(signal.SIGTERM)


async def test_keys_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOICEGATE_API_KEYS", "a-key-from-the-environment")
    async with serve(*FREE) as server:
        assert (await get(f"{server.url}v1/sessions")).status_code == 401
        server.signal(signal.SIGTERM)


async def test_a_server_without_keys_may_be_insisted_on() -> None:
    async with serve("--http", "0.0.0.0:0", "--udp", "127.0.0.1:0", "--insecure-no-auth") as server:
        assert (await get(f"{server.url}metrics")).status_code == 200
        server.signal(signal.SIGTERM)
