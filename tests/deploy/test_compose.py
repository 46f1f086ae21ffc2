"""compose.yaml: its services start as the program would have it."""

import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.deploy.program import API_KEY, load_config, parse_command, write_secrets
from tests.deploy.rendering import ROOT, read_all

(COMPOSE,) = read_all((ROOT / "compose.yaml").read_text())
SERVICES: Final[dict[str, Any]] = COMPOSE["services"]
ROLES: Final = ("relay", "transceiver")
GIVEN: Final = {"VOICEGATE_API_KEYS": API_KEY, "VOICEGATE_ADVERTISE": "203.0.113.10"}
"""What whoever starts it has to say."""


def environment_of(role: str, tmp_path: Path) -> dict[str, str]:
    """Return a service's environment, as docker compose makes it."""
    asked = re.compile(r"\$\{(\w+)(?::\?[^}]*|:-([^}]*))\}")
    environment = {
        name: asked.sub(lambda found: GIVEN.get(found[1], found[2]), str(text))
        for name, text in SERVICES[role]["environment"].items()
    }
    (secret,) = SERVICES[role]["secrets"]
    assert environment["VOICEGATE_SECRETS_FILE"] == f"/run/secrets/{secret}"
    assert secret in COMPOSE["secrets"]
    return environment | {"VOICEGATE_SECRETS_FILE": str(write_secrets(tmp_path / secret))}


@pytest.mark.parametrize("role", ROLES)
def test_the_program_takes_what_a_service_is_given(role: str, tmp_path: Path) -> None:
    assert parse_command(SERVICES[role]["command"]) == role
    config = load_config(role, environment_of(role, tmp_path))
    assert config.directory == "redis://redis:6379"
    assert "redis" in SERVICES[role]["depends_on"]


@pytest.mark.parametrize("role", ROLES)
def test_ports_that_are_published_are_the_programs(role: str, tmp_path: Path) -> None:
    config = load_config(role, environment_of(role, tmp_path))
    published = sorted(port.rpartition(":")[2] for port in SERVICES[role]["ports"])
    media = config.udp[0].port
    assert published == ([f"{media}/tcp", f"{media}/udp"] if role == "relay" else [f"{config.http.port}/tcp"])


def test_http_is_published_for_this_machine_only() -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES["transceiver"]["ports"])


def test_neither_the_hop_nor_the_directory_is_published() -> None:
    assert "ports" not in SERVICES["redis"]
    assert not any("7000" in port for role in ROLES for port in SERVICES[role]["ports"])


@pytest.mark.parametrize("role", ROLES)
def test_docker_waits_longer_than_a_drain_takes(role: str, tmp_path: Path) -> None:
    grace = int(SERVICES[role]["stop_grace_period"].removesuffix("s"))
    assert load_config(role, environment_of(role, tmp_path)).drain_seconds + 10 <= grace


@pytest.mark.parametrize("name", SERVICES)
def test_no_service_has_more_rights_than_it_needs(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].partition(":")[0]) > 0


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    assert re.search(r":\d+\.\d+\.\d+", SERVICES[name]["image"])


def test_our_image_is_built_here_and_is_this_version() -> None:
    (version,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    for role in ROLES:
        assert SERVICES[role]["build"] == "."
        assert SERVICES[role]["image"] == f"voicegate:{version}"


def test_the_cluster_secret_cannot_be_committed() -> None:
    file = COMPOSE["secrets"]["cluster-secret"]["file"]
    assert file.removeprefix(".") in (ROOT / ".gitignore").read_text().splitlines()
