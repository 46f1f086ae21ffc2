"""What the target of DTLS calls broken, and that its peer can say what no honest one would."""

import pytest

from voicegate.dtls import (
    ApplicationData,
    Closed,
    Event,
    HandshakeCompleted,
    HandshakeStarted,
    KeysReady,
    ProtocolVersion,
    Role,
    SrtpProfile,
)
from voicegate.testing import dtls_target
from voicegate.testing.fuzz.corpus import shipped
from voicegate.testing.script import LawBrokenError

STARTED = HandshakeStarted()
KEYS = KeysReady(version=1, cipher_suite=1, srtp_profile=SrtpProfile.AEAD_AES_128_GCM)
COMPLETED = HandshakeCompleted(version=1, cipher_suite=1, srtp_profile=SrtpProfile.AEAD_AES_128_GCM)
DATA = ApplicationData(data=b"said")
CLOSED = Closed(alert=0, is_remote=True)


@pytest.mark.parametrize("told", [[], [STARTED, KEYS, COMPLETED, DATA, CLOSED], [STARTED, KEYS, CLOSED]])
def test_what_may_be_told_is_no_fault(told: list[Event]) -> None:
    dtls_target._check_told(told, {b"said"})


@pytest.mark.parametrize(
    "told",
    [
        [STARTED, COMPLETED],
        [STARTED, COMPLETED, KEYS],
        [STARTED, KEYS, KEYS, COMPLETED],
        [STARTED, KEYS, DATA, COMPLETED],
        [STARTED, KEYS, DATA],
        [STARTED, KEYS, COMPLETED, ApplicationData(data=b"forged")],
        [STARTED, KEYS, CLOSED, COMPLETED],
    ],
)
def test_what_may_not_be_told_is_a_broken_law(told: list[Event]) -> None:
    with pytest.raises(LawBrokenError):
        dtls_target._check_told(told, {b"said"})


@pytest.mark.parametrize("role", Role)
@pytest.mark.parametrize(
    ("version", "name"), [(ProtocolVersion.DTLS_1_2, "v12"), (ProtocolVersion.DTLS_1_3, "v13")]
)
def test_a_peer_says_under_its_own_keys_what_the_script_has(
    monkeypatch: pytest.MonkeyPatch, role: Role, version: ProtocolVersion, name: str
) -> None:
    heard: list[Event] = []
    monkeypatch.setattr(dtls_target, "_check_told", lambda told, said: heard.extend(told))
    script = shipped() / f"dtls.connection.DtlsConnection.{role.value}.{name}" / "sealed_after"
    dtls_target.run_dtls(role, script.read_bytes(), versions=[version])
    assert ApplicationData(data=b"data") in heard
