"""The units for systemd, and the limits of the kernel."""

import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.deploy.program import API_KEY, load_config, parse_command, write_secrets
from tests.deploy.rendering import DEPLOY
from voicegate.datagram import port
from voicegate.relay import slot

UNITS: Final = sorted((DEPLOY / "systemd").glob("*.service"))
ROLES: Final = [path.stem.removeprefix("voicegate-") for path in UNITS]

Unit = dict[str, dict[str, list[str]]]


def read_unit(path: Path) -> Unit:
    """Read a unit, whose keys may be there more than once."""
    unit: Unit = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
            assert section not in unit
            unit[section] = {}
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals
            assert name.isalpha()
            unit[section].setdefault(name, []).append(value)
    return unit


def environment_of(role: str, tmp_path: Path) -> dict[str, str]:
    """Return what a server of the unit is told, with a file for it as docs/deployment.md has it."""
    service = read_unit(DEPLOY / "systemd" / f"voicegate-{role}.service")["Service"]
    environment = dict(each.split("=", 1) for each in service["Environment"])
    assert service["EnvironmentFile"] == ["-/etc/voicegate/environment"]
    environment["VOICEGATE_API_KEYS"] = API_KEY
    if role != "serve":
        (loaded,) = service["LoadCredential"]
        assert environment["VOICEGATE_SECRETS_FILE"] == f"%d/{loaded.partition(':')[0]}"
        environment["VOICEGATE_SECRETS_FILE"] = str(write_secrets(tmp_path / "secrets"))
        environment["VOICEGATE_DIRECTORY"] = "redis://10.0.0.1"
        environment["VOICEGATE_HOP"] = "0.0.0.0:7000"
    if role == "transceiver":
        environment["VOICEGATE_PEER"] = "0.0.0.0:7443"
    return environment


def test_there_is_one_for_each_role() -> None:
    assert sorted(ROLES) == ["relay", "serve", "transceiver"]


@pytest.mark.parametrize("role", ROLES)
def test_the_program_takes_what_a_unit_gives_it(role: str, tmp_path: Path) -> None:
    (command,) = read_unit(DEPLOY / "systemd" / f"voicegate-{role}.service")["Service"]["ExecStart"]
    program, *arguments = command.split()
    assert Path(program).name == "voicegate"
    assert parse_command(arguments) == role
    assert load_config(role, environment_of(role, tmp_path)).drain_seconds > 0


@pytest.mark.parametrize("path", UNITS, ids=ROLES)
def test_a_stop_drains_and_is_given_the_time_for_it(path: Path, tmp_path: Path) -> None:
    service = read_unit(path)["Service"]
    # Only the supervisor is told; it says goodbye to the calls of its children.
    assert (service["KillMode"], service["KillSignal"]) == (["mixed"], ["SIGTERM"])
    role = path.stem.removeprefix("voicegate-")
    drain = load_config(role, environment_of(role, tmp_path)).drain_seconds
    assert drain + 10 <= int(service["TimeoutStopSec"][0])


@pytest.mark.parametrize("path", UNITS, ids=ROLES)
def test_a_server_that_ends_is_started_again_however_often(path: Path) -> None:
    unit = read_unit(path)
    assert unit["Service"]["Restart"] == ["always"]
    assert unit["Unit"]["StartLimitIntervalSec"] == ["0"]


@pytest.mark.parametrize("path", UNITS, ids=ROLES)
def test_a_server_has_no_more_rights_than_it_needs(path: Path) -> None:
    service = read_unit(path)["Service"]
    assert service["DynamicUser"] == ["yes"]
    assert service["NoNewPrivileges"] == ["yes"]
    assert service["ProtectSystem"] == ["strict"]
    assert service["PrivateTmp"] == ["yes"]
    assert service["CapabilityBoundingSet"] == [""]
    assert service["AmbientCapabilities"] == [""]
    assert service["SystemCallFilter"] == ["@system-service"]
    assert "User" not in service


@pytest.mark.slow
@pytest.mark.parametrize("path", UNITS, ids=ROLES)
def test_systemd_understands_every_line(path: Path, tmp_path: Path) -> None:
    unit = tmp_path / path.name
    # It wants the program to be where the unit says.
    unit.write_text(path.read_text().replace("/opt/voicegate/bin/voicegate ", "/bin/true "))
    said = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_the_kernel_lets_sockets_have_the_buffers_that_they_ask_for() -> None:
    lines = (DEPLOY / "sysctl" / "90-voicegate.conf").read_text().splitlines()
    values = dict(line.split(" = ") for line in lines if not line.startswith("#"))
    for name in ("net.core.rmem_max", "net.core.wmem_max"):
        assert int(values[name]) >= max(port._KERNEL_BUFFER, slot._BUFFER_SIZE)
        assert name in (text for _, _, text in slot._BUFFER_OPTIONS)
