from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voicegate.access import Grant, hash_key
from voicegate.config import Address, AgentSpec, Config, SetUp
from voicegate.errors import UsageError

HASH = hash_key("some key of ours")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("[::1]:8080", ("::1", 8080)),
        ("localhost:80", ("127.0.0.1", 80)),
        ("0.0.0.0:0", ("0.0.0.0", 0)),
    ],
)
def test_an_address_is_read_with_its_port(text: str, expected: tuple[str, int]) -> None:
    assert Address.parse(text) == expected
    assert Address.parse(str(Address.parse(text))) == expected


@pytest.mark.parametrize(
    ("text", "host"), [("192.0.2.1", "192.0.2.1"), ("::1", "::1"), ("[2001:db8::1]", "2001:db8::1")]
)
def test_a_port_may_be_left_out_where_there_is_a_default(text: str, host: str) -> None:
    assert Address.parse(text, default_port=7) == (host, 7)


@pytest.mark.parametrize(
    "text", ["", "127.0.0.1", "example.com:80", "127.0.0.1:65536", "127.0.0.1:x", ":80", "[::1]"]
)
def test_a_wrong_address_is_named_in_the_error(text: str) -> None:
    with pytest.raises(UsageError, match="'"):
        Address.parse(text)


@given(st.text())
def test_any_other_text_is_a_usage_error_at_most(text: str) -> None:
    try:
        address = Address.parse(text)
    except UsageError:
        return
    assert Address.parse(str(address)) == address


def test_the_defaults_expose_nothing_beyond_this_machine() -> None:
    config = Config()
    assert config.http == ("127.0.0.1", 8080)
    assert config.udp == (("127.0.0.1", 3478),)


def test_a_wildcard_needs_an_advertised_address() -> None:
    with pytest.raises(UsageError, match="--advertise"):
        Config(udp="0.0.0.0:3478")
    assert Config(udp="0.0.0.0:3478", advertise=["192.0.2.1"]).advertise == (("192.0.2.1", 0),)


@pytest.mark.parametrize(
    "udp",
    [
        ["192.0.2.1:1", "[2001:db8::1]:2"],
        ("192.0.2.1:1", Address("2001:db8::1", 2)),
        [("192.0.2.1", 1), ("2001:db8::1", 2)],
    ],
)
def test_clients_may_be_told_an_address_for_each_family(udp: object) -> None:
    assert Config(udp=udp).udp == (("192.0.2.1", 1), ("2001:db8::1", 2))  # type: ignore[arg-type]


@pytest.mark.parametrize("udp", ["[::1]:5", Address("::1", 5), ("::1", 5), ["[::1]:5"], (Address("::1", 5),)])
def test_one_address_needs_no_list(udp: object) -> None:
    assert Config(udp=udp).udp == (("::1", 5),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("tcp", "expected"),
    [
        (None, None),
        ("off", ()),
        (["off"], ()),
        ((), ()),
        ("192.0.2.1:443", (("192.0.2.1", 443),)),
        (["192.0.2.1:443", "192.0.2.1:80"], (("192.0.2.1", 443), ("192.0.2.1", 80))),
    ],
)
def test_tcp_is_where_udp_is_or_elsewhere_or_nowhere(tcp: object, expected: object) -> None:
    assert Config(tcp=tcp).tcp == expected  # type: ignore[arg-type]


def test_two_addresses_of_one_family_are_refused() -> None:
    with pytest.raises(UsageError, match="one for IPv6 at most"):
        Config(udp=["127.0.0.1:1", "[::1]:1", "127.0.0.2:1"])


def test_a_wildcard_cannot_be_advertised() -> None:
    with pytest.raises(UsageError, match="wildcard"):
        Config(advertise=["0.0.0.0"])


def test_a_short_secret_is_refused_and_never_shown() -> None:
    with pytest.raises(UsageError, match="16 bytes"):
        Config(secrets="short")
    assert "correct horse" not in repr(Config(secrets="correct horse battery staple"))


def test_three_secrets_are_one_too_many() -> None:
    with pytest.raises(UsageError, match="two generations"):
        Config(secrets=["a" * 16, "b" * 16, "c" * 16])


def test_a_file_is_read_and_options_win_over_it(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text('http = "127.0.0.1:9000"\nagent = "echo"\nadvertise = ["192.0.2.1:5000"]\n')
    config = Config.load(file, {"agent": "parrot"})
    assert config == Config(http="127.0.0.1:9000", agent="parrot", advertise=["192.0.2.1:5000"])


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("htpp = 1", "unknown key 'htpp'"),
        ("http = ", "voicegate.toml"),
        ("http = 5", "voicegate.toml"),
        ("cluster = 5000", "cluster"),
        ("max_calls = 0", "max_calls"),
        ('http = "nowhere"', "nowhere"),
        ("http = [1, 2]", "voicegate.toml"),
        ("udp = []", "udp"),
        ("udp = 5", "voicegate.toml"),
        ("udp = [5]", "voicegate.toml"),
        ('udp = ["127.0.0.1:1", "nowhere"]', "nowhere"),
        ("tcp = 5", "voicegate.toml"),
        ('tcp = "0.0.0.0:443"', "advertise"),
        ("tls_certificate = 5", "voicegate.toml"),
        ('tls_key = "key.pem"', "tls_certificate"),
        ("relay_workers = 0", "relay_workers"),
        ('relay_workers = "2"', "relay_workers"),
        ("relay_flows = 1.5", "relay_flows"),
        ("agent = 5", "agent"),
        ("workers = 0", "workers"),
        ('workers = "2"', "workers"),
        ("workers = 3\nmax_calls = 2", "max_calls 2 cannot be shared out among 3 workers"),
        ("workers = 3\nmax_pending_calls = 2", "max_pending_calls 2 cannot be"),
        ('uplink = "slow"', "uplink: one of fast, accurate is wanted, not 'slow'$"),
        ('[set_up]\nsped = "yes"', "set_up: sped: one of full, minimal, off is wanted, not 'yes'$"),
        ('[set_up]\ndtls = ["1.1"]', "set_up: dtls: one or more of 1.3, 1.2 "),
        ('[set_up]\nearly = "no"', "set_up: early: true or false is wanted"),
        ("[set_up]\nspeed = 1", "set_up: a table of dtls, early, sctp_init, snap, sped is"),
        ("set_up = 3", "set_up: a table of"),
        ("max_pending_calls = 0", "max_pending_calls"),
        ("max_calls_per_client = 0", "max_calls_per_client"),
        ('http = "0.0.0.0:80"', r"voicegate key new.*VOICEGATE_API_KEYS.*--insecure-no-auth"),
        ("insecure_no_auth = 1", "insecure_no_auth"),
        ("keys = 5", "keys is a list"),
        ('[[keys]]\nname = "web"', "name and hash are needed"),
        (f'[[keys]]\nname = "web"\nhash = "{HASH}"\n' * 2, "'web' is there twice"),
        (f'[[keys]]\nname = "web"\nhash = "{HASH}"\nagent = "nobody"', "no agent 'nobody' is configured"),
        ("agents = 5", r"\[agents\.NAME\]"),
        ("[agents.kind]\nurl = 'ws://a'", "`use`"),
        ("[agents.kind]\nuse = 5", "`use`"),
        ("ice_servers = 5", "ice_servers is a list"),
        ("ice_servers = [{ url = 'stun:a' }]", "`urls`"),
    ],
)
def test_a_mistake_in_a_file_is_named(tmp_path: Path, text: str, fault: str) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=fault):
        Config.load(file)


def test_keys_come_from_the_file_and_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(
        f'http = "0.0.0.0:80"\n[[keys]]\nname = "web"\nhash = "{HASH}"\n'
        'calls = 2\nminutes = 5\nagent = "echo"\n'
        '[agents.echo]\nuse = "echo"\n'
    )
    environment = {"VOICEGATE_API_KEYS": "one-key-of-many-letters, another-key-of-letters"}
    config = Config.load(file, environment=environment)
    assert [key.name for key in config.keys] == ["web", "environment-1", "environment-2"]
    assert config.keys[0].grant == Grant(key="web", max_calls=2, max_seconds=300, agent="echo")
    assert config.keys[1].hash == hash_key("one-key-of-many-letters")
    assert Config.load(None, {"http": "0.0.0.0:80"}, environment=environment).keys == config.keys[1:]
    assert Config.load(None, environment={"VOICEGATE_API_KEYS": ""}).keys == ()
    with pytest.raises(UsageError, match="environment-1 is shorter"):
        Config.load(None, environment={"VOICEGATE_API_KEYS": "short"})


def test_a_wide_address_may_be_insisted_on() -> None:
    assert not Config(http="0.0.0.0:80", insecure_no_auth=True).http.is_loopback
    assert Config(http="[::1]:80").http.is_loopback


def test_agents_have_names_and_options(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text(
        'agent = "kind"\n[agents]\nloud = "echo"\n[agents.kind]\nuse = "cascade"\nvoice = "amy"\n'
    )
    config = Config.load(file)
    assert config.agents["loud"] == AgentSpec(use="echo")
    assert config.default_agent == AgentSpec(use="cascade", options={"voice": "amy"})
    assert Config(agent="parrot").default_agent == AgentSpec(use="parrot")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.toml"):
        Config.load(tmp_path / "nothing.toml")


def test_one_origin_may_stand_without_brackets(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text('cors_origins = "https://example.org"\nhosts = ["a.example", "b.example"]\n')
    config = Config.load(file)
    assert config.cors_origins == ("https://example.org",)
    assert config.hosts == ("a.example", "b.example")


def test_short_cuts_can_be_turned_off(tmp_path: Path) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text('[set_up]\ndtls = "1.2"\nearly = false\nsped = "off"\n')
    assert Config.load(file).set_up == SetUp(dtls=("1.2",), early=False, sped="off")
    assert Config().set_up == SetUp(dtls=("1.3", "1.2"), early=True, sctp_init=True, snap=True, sped="full")
