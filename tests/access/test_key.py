import hashlib
import os

import pytest

from voicegate.access import ApiKey, Grant, hash_key, new_key
from voicegate.errors import UsageError

HASH = hash_key("some-key-of-ours")


def test_a_key_is_random_and_its_hash_is_plain_sha_256() -> None:
    assert new_key(bytes) == "vg_" + "A" * 43
    assert len({new_key(os.urandom) for _ in range(10)}) == 10
    assert hashlib.sha256(b"some-key-of-ours").hexdigest() == HASH.removeprefix("sha256:")


def test_what_a_key_allows_is_its_grant() -> None:
    key = ApiKey.of({"name": "web", "hash": HASH, "calls": 3, "minutes": 1.5, "agent": "echo"})
    assert key.grant == Grant(key="web", agent="echo", max_calls=3, max_seconds=90.0)
    assert ApiKey.of(key) is key
    assert ApiKey.of({"name": "web", "hash": HASH}).grant == Grant(key="web")


def test_a_key_shows_its_hash_to_nobody() -> None:
    assert HASH not in repr(ApiKey(name="web", hash=HASH))


@pytest.mark.parametrize(
    ("table", "cause"),
    [
        ({"name": "web"}, "name and hash are needed"),
        ({"name": "web", "hash": HASH, "colour": "red"}, "a table of name, hash, calls, minutes, agent"),
        ([], "a table of"),
        ({"name": "", "hash": HASH}, "name"),
        ({"name": "web", "hash": "plain"}, "voicegate key new"),
        ({"name": "web", "hash": HASH.upper()}, "voicegate key new"),
        ({"name": "web", "hash": HASH, "calls": 0}, "calls"),
        ({"name": "web", "hash": HASH, "calls": "many"}, "calls"),
        ({"name": "web", "hash": HASH, "minutes": 0}, "minutes"),
        ({"name": "web", "hash": HASH, "agent": 7}, "agent"),
    ],
)
def test_a_table_that_is_wrong_is_refused_by_name(table: dict[str, object], cause: str) -> None:
    with pytest.raises(UsageError, match=rf"^keys: .*{cause}"):
        ApiKey.of(table)


def test_a_plain_key_that_could_be_guessed_is_refused_and_not_repeated() -> None:
    with pytest.raises(UsageError, match="shorter than 16") as caught:
        ApiKey.of_plain("hunter2", name="environment-1")
    assert "hunter2" not in str(caught.value)
    assert ApiKey.of_plain("some-key-of-ours", name="a").hash == HASH


def test_a_grant_survives_the_way_to_another_process() -> None:
    grant = Grant(key="web", agent="echo", session={"voice": "é"}, max_calls=1, max_seconds=2.5)
    assert Grant.from_json(grant.to_json()) == grant
