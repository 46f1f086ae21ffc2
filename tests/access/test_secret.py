import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.access import ClientSecret, ClientSecrets, SecretTooLargeError
from voicegate.access.secret import MAX_SECRET
from voicegate.errors import WireError

SECRETS = ClientSecrets([bytes(16)], random=os.urandom)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(key=st.text(max_size=20), session=st.dictionaries(st.text(max_size=10), VALUES, max_size=4))
def test_what_is_sealed_opens_again(key: str, session: dict[str, Any]) -> None:
    value, secret = SECRETS.make(key=key, session=session, expires_at=17)
    assert value.startswith("ek_")
    assert SECRETS.open(value) == secret
    assert secret == ClientSecret(key=key, session_id=secret.session_id, session=session, expires_at=17)


def test_no_two_are_alike_and_none_shows_what_is_in_it() -> None:
    made = [SECRETS.make(key="web", session={"instructions": "Be kind."}, expires_at=17) for _ in range(2)]
    assert made[0][0] != made[1][0]
    assert made[0][1].session_id != made[1][1].session_id
    assert made[0][1].session_id.startswith("sess_")


def test_another_worker_of_the_cluster_opens_it_and_another_cluster_does_not() -> None:
    value, secret = SECRETS.make(key="", session={}, expires_at=17)
    rotated = ClientSecrets([b"new" * 6, bytes(16)], random=os.urandom)
    assert rotated.open(value) == secret
    assert rotated.make(key="", session={}, expires_at=1)[0] != value
    with pytest.raises(WireError):
        ClientSecrets([b"new" * 6], random=os.urandom).open(value)


@given(st.text(max_size=60) | st.text(alphabet="abcAB-_=+/", max_size=60).map("ek_".__add__))
def test_what_is_none_is_refused(value: str) -> None:
    with pytest.raises(WireError):
        SECRETS.open(value)


@given(st.data())
def test_one_that_was_changed_is_refused(data: st.DataObject) -> None:
    value, _ = ClientSecrets([bytes(16)], random=bytes).make(key="web", session={}, expires_at=17)
    index = data.draw(st.integers(3, len(value) - 3))
    letter = data.draw(st.sampled_from("abcXYZ019-_").filter(lambda each: each != value[index]))
    with pytest.raises(WireError):
        SECRETS.open(value[:index] + letter + value[index + 1 :])


def test_a_session_that_does_not_fit_is_refused() -> None:
    noise = os.urandom(MAX_SECRET).hex()
    with pytest.raises(SecretTooLargeError, match="too large for a client secret"):
        SECRETS.make(key="", session={"instructions": noise}, expires_at=17)
    with pytest.raises(SecretTooLargeError):
        SECRETS.make(key="", session={"instructions": "a" * 100_000}, expires_at=17)
    value, _ = SECRETS.make(key="", session={"instructions": "a" * 60_000}, expires_at=17)
    assert len(value) < 1000
    with pytest.raises(WireError):
        SECRETS.open("ek_" + "A" * MAX_SECRET)
