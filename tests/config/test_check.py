from pathlib import Path

import attrs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from voicegate.access import hash_key
from voicegate.config import Config
from voicegate.config.check import check_config
from voicegate.config.load import load_values
from voicegate.config.role import ROLES, Role
from voicegate.errors import UsageError

SECRET = "correct horse battery staple"

FAULTY = """\
htpp = 3
max_calls = "many"
udp = ["127.0.0.1:1", "nowhere"]
agent = "parot"
tls_certificate = "missing.pem"

[[keys]]
name = "good"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000000"
[[keys]]
name = "bad"

[agents.kind]
url = "x"
[agents.odd]
use = "odd"

[regions.fra]
location = [1, 2]
[regions.ams]
location = [1, 200]

[geo]
database = "missing.mmdb"
"""


def test_all_mistakes_come_at_once_in_the_order_of_their_lines(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(FAULTY)
    report = check_config(file)
    said = [(fault.line, fault.message) for fault in report.faults]
    expected = [
        (1, "unknown key 'htpp'; did you mean http?"),
        (2, "max_calls: a whole number from 1 on is wanted, not 'many'"),
        (3, "udp: 'nowhere'"),
        (4, "agent: 'parot' is neither one of echo"),
        (5, "tls_certificate: "),
        (10, "keys: each is a table of name, hash"),
        (13, "agents.kind: each is a table with `use`"),
        (20, "regions: 'ams': location is"),
        (24, "geo.database: "),
    ]
    assert [line for line, _ in said] == [line for line, _ in expected]
    for (_, message), (_, start) in zip(said, expected, strict=True):
        assert message.startswith(start)


def test_agents_are_looked_at_once_their_table_is_right(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(
        'agent = "a"\n[agents]\na = "echo"\nb = "my.module:agent"\nc = "wss://agents.example/a"\n'
        'd = "realtime:ws://m"\ne = "echoo"\nf = "no module:x"\n'
    )
    said = [(fault.line, fault.message.partition(": ")[0]) for fault in check_config(file).faults]
    assert said == [(7, "agents.e"), (8, "agents.f")]


def test_what_stands_in_for_a_wrong_value_is_in_conflict_with_nothing(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text('http = "0.0.0.0:80"\nkeys = 5\nworkers = 5000\nmax_calls = 1\n')
    assert [fault.key for fault in check_config(file).faults] == ["keys", "workers"]


def test_a_conflict_is_where_the_first_of_its_keys_is(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text('\nhop = "127.0.0.1:3479"\n')
    environment = {"VOICEGATE_DIRECTORY": "redis://10.0.0.1"}
    faults = check_config(file, environment=environment, role="relay").faults
    assert [(fault.key, fault.line) for fault in faults] == [("hop", 2), ("secrets", None)]
    faults = check_config(None, environment={"VOICEGATE_MAX_CALLS": "1", "VOICEGATE_WORKERS": "2"}).faults
    assert [str(fault) for fault in faults] == [
        "VOICEGATE_MAX_CALLS: max_calls 1 cannot be shared out among 2 workers"
    ]


def test_keys_of_the_file_have_their_line_even_beside_those_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(f'\n[[keys]]\nname = "environment-1"\nhash = "{hash_key("a")}"\n')
    environment = {"VOICEGATE_API_KEYS": "a-key-of-many-letters"}
    (fault,) = check_config(file, environment=environment).faults
    assert str(fault) == f"{file}:2: keys: 'environment-1' is there twice"


@pytest.mark.parametrize("text", ["http = ", "a" * 3_000_000])
def test_a_file_that_cannot_be_read_is_one_mistake(tmp_path: Path, text: str) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(text)
    assert len(check_config(file, role="relay").faults) == 1
    assert len(check_config(tmp_path / "missing.toml", role="relay").faults) == 1


def test_a_file_of_secrets_has_to_be_there(tmp_path: Path) -> None:
    environment = {
        "VOICEGATE_SECRETS_FILE": str(tmp_path / "missing"),
        "VOICEGATE_DIRECTORY": "redis://[::1]",
    }
    (fault,) = check_config(None, environment=environment, role="relay").faults
    assert str(fault).startswith("VOICEGATE_SECRETS_FILE: ")
    (tmp_path / "missing").write_text(SECRET)
    assert check_config(None, environment=environment, role="relay").faults == ()


def test_what_means_nothing_to_a_role_is_no_mistake_there(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(f'secrets = "{SECRET}"\ndirectory = "redis://[::1]"\nagent = "mistake"\n')
    report = check_config(file, role="relay")
    assert report.faults == ()
    assert report.warnings == (f"agent ({file}) has no meaning for a relay",)
    assert len(check_config(file, role="transceiver").faults) == 1


WORDS = st.sampled_from(
    [
        *attrs.fields_dict(Config),
        *("use", "url", "name", "hash", "location", "relays", "database", "dtls", "sped", "default", "auto"),
        *("127.0.0.1:1", "0.0.0.0:0", "off", "redis://a", "redis+sentinel://a/b", "10.0.0.0/8", "fast"),
        *(
            hash_key("a"),
            SECRET,
            "",
            "\0",
            "[::1]",
            "::",
            "ws://a",
            "a:b",
            "[",
            "@,/",
            "redis://@",
            "redis://[a",
        ),
    ]
)
VALUES = st.recursive(
    WORDS
    | st.none()
    | st.text(max_size=8)
    | st.booleans()
    | st.integers()
    | st.integers(0, 3)
    | st.floats()
    | st.dates(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(
    values=st.dictionaries(WORDS | st.text(max_size=6), VALUES, max_size=6),
    role=st.none() | st.sampled_from(ROLES),
)
def test_whatever_is_written_is_a_configuration_or_a_usage_error(
    values: dict[str, object], role: Role | None
) -> None:
    try:
        config = Config.load(None, values, role=role)
    except UsageError as error:
        assert str(error).count("\n") == 0  # noqa: PT017 - only where there is one
    else:
        assert Config.load(None, values, role=role) == config


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(
    environment=st.dictionaries(
        WORDS.map(lambda word: f"VOICEGATE_{word.upper()}"), WORDS | st.text(max_size=30), max_size=4
    ),
    role=st.none() | st.sampled_from(ROLES),
)
def test_whatever_the_environment_has_is_checked_to_the_end(
    environment: dict[str, str], role: Role | None
) -> None:
    environment.pop("VOICEGATE_CONFIG", None)
    report = check_config(None, environment=environment, role=role)
    try:
        Config.load(None, environment=environment, role=role)
    except UsageError:
        assert report.faults


@pytest.mark.slow
@settings(max_examples=50)
@given(data=st.binary(max_size=300))
def test_any_bytes_of_a_file_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.toml"
    file.write_bytes(data)
    load_values({}, file)
    check_config(file)
