import attrs

from voicegate.dtls.v12.cipher import CipherSuite
from voicegate.dtls.v12.key_schedule import MasterSecret, prf

SUITE = CipherSuite.ECDHE_ECDSA_WITH_AES_256_GCM_SHA384


def make_master() -> MasterSecret:
    return MasterSecret.derive(
        SUITE, b"premaster", session_hash=b"hash", client_random=b"c" * 32, server_random=b"s" * 32
    )


def test_the_prf_gives_the_published_output_for_sha256() -> None:
    # https://mailarchive.ietf.org/arch/msg/tls/fzVCzk-z3FShgGJ6DOXqM1ydxms/
    output = prf(
        "sha256",
        bytes.fromhex("9bbe436ba940f017b17652849a71db35"),
        b"test label",
        bytes.fromhex("a0ba9f936cda311827a6f796ffd5198c"),
        100,
    )
    assert output.hex() == (
        "e3f229ba727be17b8d122620557cd453c2aab21d07c3d495329b52d4e61edb5a6b301791e90d35c9c9a46b4e14baf9af"
        "0fa022f7077def17abfd3797c0564bab4fbc91666e9def9b97fce34f796789baa48082d122ee42c5a72e5a5110fff701"
        "87347b66"
    )


def test_the_prf_gives_the_published_output_for_sha384() -> None:
    output = prf(
        "sha384",
        bytes.fromhex("b80b733d6ceefcdc71566ea48e5567df"),
        b"test label",
        bytes.fromhex("cd665cf6a8447dd6ff8b27555edb7465"),
        148,
    )
    assert output.hex() == (
        "7b0c18e9ced410ed1804f2cfa34a336a1c14dffb4900bb5fd7942107e81c83cde9ca0faa60be9fe34f82b1233c9146a0"
        "e534cb400fed2700884f9dc236f80edd8bfa961144c9e8d792eca722a7b32fc3d416d473ebc2c5fd4abfdad05d918425"
        "9b5bf8cd4d90fa0d31e2dec479e4f1a26066f2eea9a69236a3e52655c9e9aee691c8f3a26854308d5eaa3be85e0990703"
        "d73e56f"
    )


def test_the_key_block_has_the_lengths_of_the_suite_and_no_two_parts_alike() -> None:
    parts = attrs.astuple(make_master().key_block(SUITE))
    assert [len(part) for part in parts] == [32, 32, 4, 4]
    assert len(set(parts)) == 4


def test_exports_differ_by_label_and_context_and_an_empty_context_is_a_context() -> None:
    master = make_master()
    exports = {
        master.export(b"a", 16, None),
        master.export(b"b", 16, None),
        master.export(b"a", 16, b""),
        master.export(b"a", 16, b"context"),
    }
    assert len(exports) == 4
    assert master.export(b"a", 8, None) == master.export(b"a", 16, None)[:8]


def test_secrets_are_not_in_the_repr() -> None:
    master = make_master()
    assert repr(master.secret) not in repr(master)
    block = master.key_block(SUITE)
    assert repr(block.client_iv) not in repr(block)
