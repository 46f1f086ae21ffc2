"""URLs of directories."""

import contextlib
import ssl
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from voicegate.directory.url import DirectoryUrl, Kind
from voicegate.errors import UsageError
from voicegate.testing.redis import RedisTls

HOSTS = (("a", 1), ("b", 6379))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("redis://redis", {"kind": Kind.SERVER, "hosts": (("redis", 6379),)}),
        ("redis://10.0.0.1:7000/3", {"kind": Kind.SERVER, "hosts": (("10.0.0.1", 7000),), "database": 3}),
        ("redis://[fd00::1]:7000", {"kind": Kind.SERVER, "hosts": (("fd00::1", 7000),)}),
        ("redis://[fd00::1]/", {"kind": Kind.SERVER, "hosts": (("fd00::1", 6379),)}),
        (
            "redis://:s%40e@redis",
            {"kind": Kind.SERVER, "hosts": (("redis", 6379),), "password": "s@e"},
        ),
        (
            "redis://me:s:@e@redis",
            {"kind": Kind.SERVER, "hosts": (("redis", 6379),), "user": "me", "password": "s:@e"},
        ),
        (
            "rediss://redis?ca=/a/ca.pem&cert=c.pem&key=k.pem",
            {
                "kind": Kind.SERVER,
                "hosts": (("redis", 6379),),
                "is_tls": True,
                "ca": Path("/a/ca.pem"),
                "cert": Path("c.pem"),
                "key": Path("k.pem"),
            },
        ),
        (
            "redis+sentinel://a:1,b/main",
            {"kind": Kind.SENTINEL, "hosts": (("a", 1), ("b", 26379)), "primary": "main"},
        ),
        (
            "rediss+sentinel://a:1/main/2",
            {
                "kind": Kind.SENTINEL,
                "hosts": (("a", 1),),
                "primary": "main",
                "database": 2,
                "is_tls": True,
            },
        ),
        ("redis+cluster://a:1,b", {"kind": Kind.CLUSTER, "hosts": HOSTS}),
        ("rediss+cluster://a:1,b", {"kind": Kind.CLUSTER, "hosts": HOSTS, "is_tls": True}),
    ],
)
def test_urls_say_where_and_how(text: str, expected: dict[str, Any]) -> None:
    assert DirectoryUrl.parse(text) == DirectoryUrl(**expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a URL like"),
        ("redis:/secret", "a URL like"),
        ("http://secret", "a URL like"),
        ("redis+unknown://secret", "a URL like"),
        ("redis://", "host is missing"),
        ("redis://a:secret@", "host is missing"),
        ("redis://secret@host", "USER:PASSWORD"),
        ("redis://host:port", "number from 1 to 65535"),
        ("redis://host:0", "number from 1 to 65535"),
        ("redis://host:65536", "number from 1 to 65535"),
        ("redis://host:²", "number from 1 to 65535"),
        ("redis://a:secret@one,two", "several hosts"),
        ("redis://host/name", "number of a database"),
        ("redis+cluster://host/1", "no databases"),
        ("redis+sentinel://host", "name of the primary"),
        ("redis+sentinel://host/main/x", "number of a database"),
        ("redis://u:secret@host?ca=x", "are for TLS"),
        ("rediss://host?password=secret", "options after"),
        ("rediss://host?ca=", "path of a PEM file"),
        ("rediss://host?key=k.pem", "without cert"),
    ],
)
def test_what_is_wrong_is_named_but_no_password(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as refused:
        DirectoryUrl.parse(text)
    assert "secret" not in str(refused.value)


@given(text=st.text(max_size=40).map("redis://".__add__) | st.text(max_size=40))
@example("redis://[")
@example("rediss+sentinel://a:b@[::1]:1,,/x")
def test_only_usage_errors_come_of_any_text(text: str) -> None:
    with contextlib.suppress(UsageError):
        DirectoryUrl.parse(text)


def test_a_password_is_in_nothing_that_is_printed() -> None:
    url = DirectoryUrl.parse("rediss+sentinel://me:secret@a:1,[fd00::1]/main/2")
    assert "secret" not in repr(url)
    assert str(url) == "rediss+sentinel://a:1,[fd00::1]:26379/main/2"
    assert str(DirectoryUrl.parse("redis://:secret@a")) == "redis://a:6379"


def test_tls_believes_the_files_that_are_named(tls: RedisTls) -> None:
    assert DirectoryUrl.parse("redis://host").ssl_context() is None
    context = DirectoryUrl.parse(f"rediss://host?ca={tls.ca}&cert={tls.cert}&key={tls.key}").ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert [each["serialNumber"] for each in context.get_ca_certs()] == ["01"]


@pytest.mark.parametrize("options", ["ca=/nowhere.pem", "cert=/nowhere.pem", "ca={key}", "cert={key}"])
def test_files_that_cannot_be_read_are_named(tls: RedisTls, options: str) -> None:
    url = DirectoryUrl.parse(f"rediss://host?{options.format(key=tls.key)}")
    with pytest.raises(UsageError, match=r"\.pem"):
        url.ssl_context()
