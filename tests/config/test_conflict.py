import pytest

from voicegate.config import Config, Role
from voicegate.errors import UsageError

SECRET = "correct horse battery staple"
CLUSTER = {"secrets": SECRET, "directory": "redis://10.0.0.1", "hop": "10.0.0.2:3479"}


def load(role: Role, **settings: object) -> tuple[Config, list[str]]:
    warnings: list[str] = []
    return Config.load(None, settings, role=role, warn=warnings.append), warnings


@pytest.mark.parametrize(
    ("role", "settings"),
    [
        ("serve", {}),
        ("serve", CLUSTER),
        ("relay", CLUSTER),
        ("transceiver", CLUSTER),
        ("relay", {**CLUSTER, "hop": "0.0.0.0:0"}),
        ("relay", {**CLUSTER, "hop": "[fc00::1]:3479"}),
        ("transceiver", {**CLUSTER, "directory": "redis://127.0.0.1", "hop": "127.0.0.1:0"}),
        (
            "transceiver",
            {**CLUSTER, "directory": "redis+cluster://localhost:1,[::1]:2", "hop": "127.0.0.1:0"},
        ),
        ("relay", {**CLUSTER, "hop": "203.0.113.1:1", "hop_networks": "203.0.113.0/24"}),
        ("transceiver", {**CLUSTER, "peer": "10.0.0.2:3580"}),
        ("relay", {**CLUSTER, "region": "fra"}),
        ("transceiver", {**CLUSTER, "region": "fra", "regions": {"fra": {}}}),
    ],
)
def test_what_a_role_needs_is_enough(role: Role, settings: dict[str, object]) -> None:
    load(role, **settings)


@pytest.mark.parametrize(
    ("role", "settings", "fault"),
    [
        ("relay", {}, "secrets: a relay has the cluster's secret"),
        ("transceiver", {}, "secrets: a transceiver"),
        ("relay", {"secrets": SECRET}, "directory: a relay finds the others in it"),
        ("serve", {"directory": "redis://10.0.0.1"}, "secrets: a server with a directory"),
        ("relay", {**CLUSTER, "hop": "127.0.0.1:3479"}, "hop 127.0.0.1:3479: other machines cannot reach it"),
        ("relay", {**CLUSTER, "directory": "redis+sentinel://127.0.0.1,b/m", "hop": "[::1]:1"}, "hop"),
        ("transceiver", {**CLUSTER, "peer": "127.0.0.1:1"}, "peer 127.0.0.1:1: other machines cannot"),
        ("relay", {**CLUSTER, "hop": "203.0.113.1:1"}, "hop 203.0.113.1:1 is in none of hop_networks"),
        ("transceiver", {**CLUSTER, "peer": "203.0.113.1:1"}, "peer 203.0.113.1:1 is in none"),
        ("relay", {**CLUSTER, "hop": "10.0.0.2:65535", "relay_workers": 2}, "2 ports from this one on"),
        ("serve", {"hop": "127.0.0.1:65535"}, "2 ports from this one on"),
        ("transceiver", {**CLUSTER, "region": "fr", "regions": {"fra": {}}}, "did you mean fra"),
        ("relay", {**CLUSTER, "http": "0.0.0.0:80"}, "add a key"),
    ],
)
def test_what_a_role_lacks_is_named(role: Role, settings: dict[str, object], fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        load(role, **settings)


def test_a_role_that_is_none_is_refused() -> None:
    with pytest.raises(UsageError, match="'relais' is none of serve, relay, transceiver"):
        Config().check_role("relais")  # type: ignore[arg-type]


def test_two_regions_cannot_be_the_default() -> None:
    with pytest.raises(UsageError, match="not each of a, b"):
        Config(regions={"a": {"default": True}, "b": {"default": True}})


@pytest.mark.parametrize(
    ("role", "settings", "warning"),
    [
        ("relay", {**CLUSTER, "agent": "echo"}, "agent (command line) has no meaning for a relay"),
        ("transceiver", {**CLUSTER, "udp": "127.0.0.1:1"}, "udp (command line) has no meaning"),
        ("serve", {"geo": {"country_header": "x-country"}}, "believed from trusted_proxies only"),
        ("serve", {"geo": {"database": "x.mmdb"}}, "no regions to choose from"),
        ("serve", {"trusted_proxies": "0.0.0.0/0"}, "lets anybody claim any address"),
        ("transceiver", CLUSTER, "peer is not set"),
    ],
)
def test_what_has_no_effect_is_pointed_out(role: Role, settings: dict[str, object], warning: str) -> None:
    _, warnings = load(role, **settings)
    assert any(warning in said for said in warnings), warnings


def test_one_machine_by_itself_has_nothing_to_point_out() -> None:
    assert load("serve", agent="echo")[1] == []


@pytest.mark.parametrize(
    ("directory", "fault"),
    [
        ("http://a", "it begins with one of redis://"),
        ("redis:a", "it begins with one of"),
        ("redis://", "a host is wanted"),
        ("redis://a,b", "several hosts are of"),
        ("redis+sentinel://a:1,b:2", "name of the master"),
        ("redis+cluster://a,,b", "a host is wanted"),
        ("redis://user:pass\n@a", "an address such as"),
        (5, "an address such as"),
    ],
)
def test_a_wrong_directory_is_named_without_its_password(directory: object, fault: str) -> None:
    with pytest.raises(UsageError, match=f"directory: .*{fault}"):
        Config(directory=directory)  # type: ignore[arg-type]


def test_the_password_of_a_directory_is_not_shown() -> None:
    shown = repr(Config(directory="rediss://user:hunter2@redis.example:6379/1"))
    assert "hunter2" not in shown
    assert "rediss://user:***@redis.example:6379/1" in shown
