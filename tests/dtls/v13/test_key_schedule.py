"""Against the handshake of RFC 8448 §3, which is of TLS: its labels begin with ``tls13 ``."""

import pytest

from voicegate.dtls.v13 import key_schedule
from voicegate.dtls.v13.key_schedule import KeySchedule, expand_label, export, finished_data, next_secret

SHARED = bytes.fromhex("8bd4054fb55b9d63fdfbacf9f04b9f0d35e6d63f537563efd46272900f89492d")
UP_TO_SERVER_HELLO = bytes.fromhex("860c06edc07858ee8e78f0e7428c58edd6b43f2ca3e6e95f02ed063cf0e1cad8")
UP_TO_FINISHED = bytes.fromhex("9608102a0f1ccc6db6250b7b7e417b1a000eaada3daae4777a7686c9ff83df13")


@pytest.fixture
def _of_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_schedule, "_PREFIX", b"tls13 ")


@pytest.mark.usefixtures("_of_tls")
def test_the_secrets_of_the_known_handshake() -> None:
    schedule = KeySchedule("sha256", SHARED)
    client, server = schedule.handshake_secrets(UP_TO_SERVER_HELLO)
    assert client.hex() == "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21"
    assert server.hex() == "b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38"
    client, server = schedule.application_secrets(UP_TO_FINISHED)
    assert client.hex() == "9e40646ce79a7f9dc05af8889bce6552875afa0b06df0087f792ebb7c17504a5"
    assert server.hex() == "a11af9f05531f856ad47116b45a950328204b4f44bfb6b3a4b4f1f3fcb631643"
    exporter = schedule.exporter_secret(UP_TO_FINISHED)
    assert exporter.hex() == "fe22f881176eda18eb8f44529e6792c50c9a3f89452f68d8ae311b4309d3cf50"


@pytest.mark.usefixtures("_of_tls")
def test_the_traffic_keys_of_the_known_handshake() -> None:
    server = bytes.fromhex("b67b7d690cc16c4e75e54213cb2d37b4e9c912bcded9105d42befd59d391ad38")
    assert expand_label("sha256", server, b"key", b"", 16).hex() == "3fce516009c21727d0f2e4e86ee403bc"
    assert expand_label("sha256", server, b"iv", b"", 12).hex() == "5d313eb2671276ee13000b30"


def test_dtls_has_labels_of_its_own() -> None:
    client, _ = KeySchedule("sha256", SHARED).handshake_secrets(UP_TO_SERVER_HELLO)
    assert client.hex() != "b3eddb126e067f35a780b3abf45e2d8f3b1a950738f52e9600746a0e27a55a21"


@pytest.mark.parametrize(("hash_name", "size"), [("sha256", 32), ("sha384", 48)])
def test_secrets_are_as_long_as_the_hash_and_exports_as_long_as_wanted(hash_name: str, size: int) -> None:
    schedule = KeySchedule(hash_name, SHARED)
    client, server = schedule.application_secrets(bytes(size))
    assert len(client) == len(server) == len(next_secret(hash_name, client)) == size
    assert len(finished_data(hash_name, client, bytes(size))) == size
    assert len({client, server, next_secret(hash_name, client)}) == 3
    secret = schedule.exporter_secret(bytes(size))
    for length in (1, 20, 88, 200):
        assert len(export(hash_name, secret, b"label", length, b"")) == length
    assert export(hash_name, secret, b"label", 9, b"") != export(hash_name, secret, b"label", 9, b"x")
