import base64

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voicegate.errors import UsageError
from voicegate.ice import Credentials, Keyring, Route, credentials

A, B, C = (bytes([byte]) * 32 for byte in b"ABC")
ROUTE = Route(transceiver_id=0xABC_00017, session_id=b"8 octets", generation=3)
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"

routes = st.builds(
    Route,
    transceiver_id=st.integers(0, 0xFFFF_FFFF),
    session_id=st.binary(min_size=8, max_size=8),
    generation=st.integers(0, 0xFF),
)


@given(routes)
def test_a_minted_ufrag_opens_to_its_route_and_password(route: Route) -> None:
    keyring = Keyring([A, B])
    minted = keyring.mint(route)
    assert len(minted.ufrag) == 48
    assert len(minted.pwd) == 32
    assert set(minted.ufrag + minted.pwd) <= set(ALPHABET)
    assert keyring.open(minted.ufrag) == (route, minted.pwd)


def test_what_is_minted_stays_what_it_was_in_earlier_releases() -> None:
    # Relays and transceivers of different releases serve one call: this changes only with the version byte.
    assert Keyring([A]).mint(ROUTE) == Credentials(
        ufrag="bzikdzqqupfbxpv2ovh5kckhxja4pscmxbp4jxpkayjdzxcs",
        pwd="azdmhlqhfmdwidyymr2mtcwkxvuip3e4",
    )


def test_the_cluster_is_the_high_12_bits_of_the_transceiver_id() -> None:
    assert ROUTE.cluster == 0xABC
    assert Route(0x000F_FFFF, bytes(8)).cluster == 0


def test_rotated_keys_open_what_the_previous_secret_minted_and_no_older() -> None:
    old = Keyring([A]).mint(ROUTE)
    opened = Keyring([B, A]).open(old.ufrag)
    assert opened is not None
    assert opened.route == ROUTE
    assert opened.pwd == old.pwd
    assert Keyring([C, B]).open(old.ufrag) is None


def test_the_first_secret_mints() -> None:
    assert Keyring([B, A]).mint(ROUTE) == Keyring([B]).mint(ROUTE)
    assert Keyring([B, A]).mint(ROUTE) != Keyring([A]).mint(ROUTE)


def test_a_restart_gives_a_new_ufrag_and_password() -> None:
    keyring = Keyring([A])
    first, second = keyring.mint(ROUTE), keyring.mint(ROUTE._replace(generation=4))
    assert first.ufrag != second.ufrag
    assert first.pwd != second.pwd


def test_a_password_is_not_shown_in_logs() -> None:
    minted = Keyring([A]).mint(ROUTE)
    assert minted.pwd not in repr(minted)


@given(routes, st.integers(0, 47), st.sampled_from(ALPHABET))
def test_a_ufrag_with_one_other_letter_is_forged(route: Route, position: int, letter: str) -> None:
    keyring = Keyring([A, B])
    ufrag = keyring.mint(route).ufrag
    changed = ufrag[:position] + letter + ufrag[position + 1 :]
    assert (keyring.open(changed) is None) == (changed != ufrag)


@given(st.text() | st.text(ALPHABET, min_size=48, max_size=48) | st.text(min_size=48, max_size=48))
@example("")
@example("a" * 47)
@example("a" * 49)
@example("A" * 48)
@example("0" * 48)
@example("+" + "a" * 47)
@example(" " * 48)
@example("1_" * 24)
@example("٣" * 48)
@example("\ud800" * 48)
def test_text_of_strangers_opens_to_nothing(text: str) -> None:
    assert Keyring([A, B]).open(text) is None


def test_capitals_do_not_open_although_base32_has_no_case() -> None:
    keyring = Keyring([A])
    assert keyring.open(keyring.mint(ROUTE).ufrag.upper()) is None


def test_a_token_of_a_later_version_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    keyring = Keyring([A])
    with monkeypatch.context() as later_release:
        later_release.setattr(credentials, "_VERSION", 2)
        ufrag = keyring.mint(ROUTE).ufrag
    assert keyring.open(ufrag) is None


def test_what_is_kept_of_opened_ufrags_is_bounded_and_changes_no_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(credentials, "OPENED_LIMIT", 3)
    keyring = Keyring([A, B])
    minted = {route: keyring.mint(route) for route in (ROUTE._replace(generation=n) for n in range(6))}
    for _ in range(2):
        for route, own in minted.items():
            assert keyring.open(own.ufrag) == keyring.open(own.ufrag) == (route, own.pwd)
            assert keyring.open(own.ufrag[:-1] + "!") is None
            assert len(keyring._opened) <= 3


def test_ufrags_of_strangers_are_not_kept() -> None:
    keyring = Keyring([A])
    for stranger in (Keyring([B]).mint(ROUTE).ufrag, "elsewhere", ""):
        assert keyring.open(stranger) is None
    assert not keyring._opened


def test_a_ufrag_tells_nothing_without_the_key() -> None:
    sealed = base64.b32decode(Keyring([A]).mint(ROUTE).ufrag.upper())
    assert len(sealed) == 30
    assert ROUTE.session_id not in sealed
    assert ROUTE.transceiver_id.to_bytes(4, "big") not in sealed


@pytest.mark.parametrize("secrets", [[], [A, B, C], [b"too short"], [A, b""]])
def test_a_keyring_needs_one_or_two_good_secrets(secrets: list[bytes]) -> None:
    with pytest.raises(UsageError):
        Keyring(secrets)


@pytest.mark.parametrize(
    "route",
    [
        ROUTE._replace(session_id=b"7 octet"),
        ROUTE._replace(session_id=b"nine octets"),
        ROUTE._replace(transceiver_id=-1),
        ROUTE._replace(transceiver_id=1 << 32),
        ROUTE._replace(generation=256),
        ROUTE._replace(generation=-1),
    ],
)
def test_a_route_out_of_range_is_a_fault_of_the_caller(route: Route) -> None:
    with pytest.raises(UsageError):
        Keyring([A]).mint(route)
