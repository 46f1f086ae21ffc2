import os

import attrs

from voicegate.access import ApiKey, Denial, Gate, Grant, hash_key

WEB = ApiKey(name="web", hash=hash_key("the key of the web"), calls=2, agent="echo")
JOB = ApiKey(name="job", hash=hash_key("the key of the job"))
SECRETS = [bytes(16)]
GATE = Gate([WEB, JOB], secrets=SECRETS, random=os.urandom)
OPEN = Gate([], secrets=SECRETS, random=os.urandom)
NOW = 1000.0


def test_a_key_is_let_in_as_what_it_is() -> None:
    assert GATE.check("the key of the web", now=NOW) == WEB.grant
    assert GATE.check("the key of the job", now=NOW) == JOB.grant
    assert not GATE.is_open


def test_whoever_has_none_or_a_wrong_one_is_not() -> None:
    assert GATE.check(None, now=NOW) is Denial.MISSING
    assert GATE.check("", now=NOW) is Denial.MISSING
    assert GATE.check("the key of the we", now=NOW) is Denial.UNKNOWN
    assert GATE.check("\udcff", now=NOW) is Denial.UNKNOWN
    assert GATE.check("ek_made_up", now=NOW) is Denial.UNKNOWN


def test_an_open_gate_takes_whatever_clients_have_to_send() -> None:
    assert OPEN.is_open
    for token in (None, "", "sk-anything", "ek_made_up"):
        assert OPEN.check(token, now=NOW) == Grant()


def test_a_client_secret_has_the_rights_of_its_key_and_its_session() -> None:
    value, _ = GATE.make_secret(WEB.grant, {"voice": "marin"}, expires_at=1010)
    granted = attrs.evolve(WEB.grant, session={"voice": "marin"}, is_ephemeral=True)
    assert GATE.check(value, now=NOW) == granted
    assert GATE.check(value, now=1009.9) == granted
    assert GATE.check(value, now=1010.0) is Denial.EXPIRED


def test_a_client_secret_counts_at_an_open_gate_too() -> None:
    value, _ = OPEN.make_secret(Grant(), {"voice": "marin"}, expires_at=1010)
    assert OPEN.check(value, now=NOW) == Grant(session={"voice": "marin"}, is_ephemeral=True)
    assert OPEN.check(value, now=1010.0) is Denial.EXPIRED


def test_a_client_secret_is_worth_nothing_without_its_key() -> None:
    value, _ = GATE.make_secret(WEB.grant, {}, expires_at=1010)
    assert Gate([JOB], secrets=SECRETS, random=os.urandom).check(value, now=NOW) is Denial.UNKNOWN
    of_nobody, _ = OPEN.make_secret(Grant(), {}, expires_at=1010)
    assert GATE.check(of_nobody, now=NOW) is Denial.UNKNOWN
