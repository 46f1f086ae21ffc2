import json
from pathlib import Path

import attrs
import pytest

from voicegate.access import hash_key
from voicegate.config import Address, Config, SetUp
from voicegate.directory import RelayLease
from voicegate.signalling.relays import RelayList
from voicegate.worker.control import WorkerSettings, server_socket, worker_socket

CONFIGS = [
    Config(),
    Config(
        http="[::1]:0",
        keys=[{"name": "web", "hash": hash_key("of the web"), "calls": 2}],
        agents={"kind": {"use": "cascade", "chat": {"model": "m"}}, "loud": "echo"},
        ice_servers=[{"urls": ["stun:a"], "username": "b"}],
        udp=["192.0.2.1:1", "[2001:db8::1]:2"],
        tcp="192.0.2.1:443",
        tls_certificate="certificate.pem",
        advertise=["192.0.2.7", "198.51.100.1:5000"],
        workers=4,
        agent="mine:agent",
        secrets=[b"\xff" * 16],
        set_up=SetUp(dtls=("1.2",), early=False, sped="off"),
        cors_origins=("https://example.org",),
        hosts=("a.example",),
        directory="rediss://us:er@redis.example:6379/2",
        hop="10.0.0.1:3479",
        hop_networks=["10.0.0.0/8"],
        peer="10.0.0.1:3480",
        region="fra",
        regions={"fra": {"location": [50.1, 8.7], "relays": ["192.0.2.1:3478"], "default": True}},
        geo={"database": "cities.mmdb", "country_header": "CF-IPCountry"},
        trusted_proxies=["192.0.2.0/24"],
        max_calls_per_client=7,
    ),
    Config(tcp="off"),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_settings_survive_their_journey_and_do_not_show_secrets(config: Config) -> None:
    settings = WorkerSettings(
        number=1,
        count=2,
        transceiver_id=17,
        config=config,
        secrets=[b"\xfe" * 16],
        hop=Address("::1", 0),
        folder=Path("folder"),
        import_path=["", "beside"],
        logging={"level": "info", "json": True},
        relays=RelayList({"a": RelayLease(udp=(("192.0.2.1", 1),), tcp=(("2001:db8::1", 2),))}),
    )
    received = WorkerSettings.from_json(json.loads(json.dumps(settings.to_json())))
    assert received.secrets == settings.secrets
    for name in ("number", "count", "transceiver_id", "hop", "folder", "import_path", "logging", "relays"):
        assert getattr(received, name) == getattr(settings, name)
    assert received.config == attrs.evolve(config, secrets=())
    assert "xfe" not in repr(settings)


def test_no_two_processes_share_a_socket() -> None:
    folder = Path("folder")
    assert len({server_socket(folder), worker_socket(folder, 0), worker_socket(folder, 0xFFFFFFFF)}) == 3
