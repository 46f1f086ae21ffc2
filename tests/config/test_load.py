from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.config import Address, Config
from voicegate.config.load import MAX_FILE, find_line, read_secrets
from voicegate.errors import UsageError
from voicegate.steering import Geo, Region

SECRET = "correct horse battery staple"


def write(folder: Path, text: str, name: str = "voicegate.toml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_the_command_line_wins_over_the_environment_over_the_file(tmp_path: Path) -> None:
    file = write(tmp_path, "max_calls = 2\nmax_pending_calls = 2\ncluster = 2\n")
    environment = {"VOICEGATE_MAX_PENDING_CALLS": "3", "VOICEGATE_CLUSTER": "3"}
    config = Config.load(file, {"cluster": 4}, environment=environment)
    assert (config.max_calls, config.max_pending_calls, config.cluster) == (2, 3, 4)


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    environment = {"VOICEGATE_CONFIG": str(write(tmp_path, "cluster = 7"))}
    assert Config.load(None, environment=environment).cluster == 7
    assert Config.load(write(tmp_path, "", "other.toml"), environment=environment).cluster == 0
    with pytest.raises(UsageError, match=r"missing\.toml"):
        Config.load(None, environment={"VOICEGATE_CONFIG": "missing.toml"})


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("HTTP", "127.0.0.1:1", Address("127.0.0.1", 1)),
        ("UDP", "192.0.2.1:1, [2001:db8::1]:2", (("192.0.2.1", 1), ("2001:db8::1", 2))),
        ("TCP", "off", ()),
        ("TCP", "", None),
        ("ADVERTISE", "192.0.2.1", (("192.0.2.1", 0),)),
        ("WORKERS", "3", 3),
        ("MAX_CALLS_PER_CLIENT", "3", 3),
        ("DRAIN_SECONDS", "2.5", 2.5),
        ("DRAIN_SECONDS", "0", 0),
        ("INSECURE_NO_AUTH", "true", True),
        ("INSECURE_NO_AUTH", "0", False),
        ("HOSTS", "a.example,b.example", ("a.example", "b.example")),
        ("SECRETS", SECRET, (SECRET.encode(),)),
        ("GEO", '{country_header = "x-country"}', Geo(country_header="x-country")),
        ("REGIONS", "fra = {default = true}", {"fra": Region(default=True)}),
        ("REGIONS", "[fra]\ndefault = true", {"fra": Region(default=True)}),
        ("REGIONS", "[regions.fra]\ndefault = true", {"fra": Region(default=True)}),
        ("ICE_SERVERS", '[{urls = "stun:a"}]', ({"urls": "stun:a"},)),
        ("ICE_SERVERS", '[[ice_servers]]\nurls = "stun:a"', ({"urls": "stun:a"},)),
        ("DIRECTORY", "redis://127.0.0.1", "redis://127.0.0.1"),
    ],
)
def test_a_variable_is_read_as_its_key_is_written(variable: str, text: str, expected: object) -> None:
    config = Config.load(None, environment={f"VOICEGATE_{variable}": text})
    assert getattr(config, variable.lower()) == expected


@pytest.mark.parametrize(
    ("variable", "text", "fault"),
    [
        (
            "WORKERS",
            "many",
            "VOICEGATE_WORKERS: workers: a whole number from 1 to 1024 is wanted, not 'many'",
        ),
        ("WORKERS", "9" * 5000, "VOICEGATE_WORKERS: workers"),
        ("GEO", "{", "VOICEGATE_GEO: geo: "),
        ("GEO", "3", "VOICEGATE_GEO: geo"),
        ("REGIONS", "[" * 5000, "VOICEGATE_REGIONS: regions: "),
        ("INSECURE_NO_AUTH", "maybe", "true or false"),
        ("DRAIN_SECONDS", "nan", "a number from 0 on"),
        ("HTTP", "nowhere:1", "VOICEGATE_HTTP: http: 'nowhere:1'"),
    ],
)
def test_a_mistake_in_a_variable_names_it(variable: str, text: str, fault: str) -> None:
    with pytest.raises(UsageError, match=fault) as caught:
        Config.load(None, environment={f"VOICEGATE_{variable}": text})
    assert "\n" not in str(caught.value)


def test_a_variable_that_is_none_is_pointed_out_with_what_was_perhaps_meant() -> None:
    warnings: list[str] = []
    environment = {
        "VOICEGATE_WORKER": "3",
        "VOICEGATE_NOTHING_AT_ALL": "3",
        "VOICEGATE_LINK_KEY": "k",
        "VOICEGATE_RELAY_PORT_3478_UDP_ADDR": "10.0.0.1",
        "VOICEGATE_RELAY_SERVICE_HOST": "10.0.0.1",
        "VOICEGATE_PORT": "udp://10.0.0.1:3478",
        "VOICEGATE_UNSET": "",
        "OTHER": "x",
    }
    Config.load(None, environment=environment, warn=warnings.append)
    assert warnings == [
        "VOICEGATE_WORKER in the environment has no meaning; did you mean VOICEGATE_WORKERS?",
        "VOICEGATE_NOTHING_AT_ALL in the environment has no meaning",
    ]


def test_a_mistake_in_a_file_has_its_line(tmp_path: Path) -> None:
    file = write(tmp_path, "# one\ncluster = 1\n\nworkers = 0\n")
    with pytest.raises(UsageError, match=r"voicegate\.toml:4: workers: a whole number"):
        Config.load(file)


def test_an_unknown_key_comes_with_the_nearest_known_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"voicegate\.toml:1: unknown key 'worker'; did you mean workers\?$"):
        Config.load(write(tmp_path, "worker = 3"))
    with pytest.raises(UsageError, match="known are advertise, agent"):
        Config.load(write(tmp_path, "xyzzy = 3"))
    with pytest.raises(UsageError, match="unknown key 'worker'; did you mean workers"):
        Config.load(None, {"worker": 3})


TEXT = """
a = 1
[[keys]]
name = "x"
[[keys]]
name = "y"
"quoted" = 1
[agents]
loud = "echo"
[agents.kind]  # a = 2
use = "b"
[ agents . "far" ]
"""


@pytest.mark.parametrize(
    ("key", "part", "line"),
    [
        ("a", None, 2),
        ("keys", None, 3),
        ("keys", 0, 3),
        ("keys", 1, 5),
        ("keys", 2, 3),
        ("agents", None, 8),
        ("agents", "loud", 9),
        ("agents", "kind", 10),
        ("agents", "far", 12),
        ("agents", "nobody", 8),
        ("use", None, None),
        ("name", None, None),
        ("missing", None, None),
    ],
)
def test_keys_and_tables_are_found_by_line(key: str, part: str | int | None, line: int | None) -> None:
    assert find_line(TEXT, key, part) == line


@pytest.mark.slow
@given(text=st.text(), key=st.text(), part=st.none() | st.text() | st.integers(0, 9))
def test_any_text_has_a_line_or_none(text: str, key: str, part: str | int | None) -> None:
    assert find_line(text, key, part) in (None, *range(1, text.count("\n") + len(text.splitlines()) + 2))


def test_secrets_may_be_in_a_file_of_their_own(tmp_path: Path) -> None:
    secrets = write(tmp_path, f"{SECRET} two\n\n  {SECRET} one \r\n", "secrets")
    expected = (f"{SECRET} two".encode(), f"{SECRET} one".encode())
    assert read_secrets(secrets) == expected
    config = Config.load(write(tmp_path, f'secrets_file = "{secrets}"'))
    assert config.secrets == expected
    # What the environment says, in whichever form, wins over the file.
    assert Config.load(
        write(tmp_path, f'secrets_file = "{secrets}"'), environment={"VOICEGATE_SECRETS": SECRET}
    ).secrets == (SECRET.encode(),)
    assert (
        Config.load(
            write(tmp_path, f'secrets = "{SECRET}"'), environment={"VOICEGATE_SECRETS_FILE": str(secrets)}
        ).secrets
        == expected
    )
    assert SECRET not in repr(config)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no secret in it"),
        ("short", "at least 16 bytes"),
        (f"{SECRET}\n" * 3, "two generations"),
        (f"{SECRET}\n" * 10_000, "more than"),
    ],
)
def test_a_bad_file_of_secrets_is_named_and_not_repeated(tmp_path: Path, text: str, fault: str) -> None:
    secrets = write(tmp_path, text, "secrets")
    with pytest.raises(UsageError, match=fault) as caught:
        Config.load(None, {"secrets_file": secrets})
    assert SECRET not in str(caught.value)


def test_secrets_are_here_or_there_not_both(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="secrets_file stands instead of secrets"):
        Config.load(write(tmp_path, f'secrets = "{SECRET}"\nsecrets_file = "secrets"'))
    with pytest.raises(UsageError, match="nowhere"):
        Config.load(write(tmp_path, 'secrets_file = "nowhere"'))


@pytest.mark.parametrize(
    "data",
    [
        b"x" * (MAX_FILE + 1),
        b"a = " + b"[" * 100_000,
        b"a = " + b"{b = " * 20_000,
        b"cluster = " + b"9" * 10_000,
        b"cluster = 0x" + b"f" * 10_000,
        b"\xff\xfe",
        b"a.b." * 50_000 + b"c = 1",
        b"\0",
    ],
    ids=["huge", "lists", "tables", "decimal", "hexadecimal", "no text", "dots", "nul"],
)
def test_a_file_that_would_take_all_is_refused_in_a_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_bytes(data)
    with pytest.raises(UsageError, match=r"voicegate\.toml") as caught:
        Config.load(file)
    assert len(str(caught.value)) < 2000
    assert "\n" not in str(caught.value)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="directory"):
        Config.load(tmp_path)
