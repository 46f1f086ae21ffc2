"""What an operator writes, and what is wrong with it."""

from pathlib import Path
from typing import Any

import pytest

from voicegate.agents.realtime import RealtimeOptions, open_realtime_agent
from voicegate.errors import UsageError


def test_a_table_is_read_and_the_key_comes_from_where_it_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("MY_KEY", "from-environment")
    table = {"use": "realtime", "url": "wss://host/v1/realtime", "model": "m", "subprotocols": ["realtime"]}
    options = RealtimeOptions.from_mapping({**table, "key_env": "MY_KEY", "input_rate": 16_000})
    assert (options.key, options.input_rate, options.subprotocols) == (
        "from-environment",
        16_000,
        ("realtime",),
    )
    assert "from-environment" not in repr(options)
    path = tmp_path / "key"
    path.write_text("from-file\n")
    assert RealtimeOptions.from_mapping({"key_file": str(path)}).key == "from-file"
    monkeypatch.setenv("VOICEGATE_REALTIME_KEY", "usual")
    assert RealtimeOptions.from_mapping({}).key == "usual"


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ({"urll": "ws://x"}, "urll"),
        ({"key": "secret"}, "key"),
        ({"model": 7}, "model"),
        ({"url": "http://x"}, "url"),
        ({"dialect": "delta"}, "dialect"),
        ({"input_rate": 8000}, "input_rate"),
        ({"output_rate": "24000"}, "output_rate"),
        ({"batch_ms": 500}, "batch_ms"),
        ({"batch_ms": True}, "batch_ms"),
        ({"traceparent": "yes"}, "traceparent"),
        ({"subprotocols": "realtime"}, "subprotocols"),
        ({"headers": {"A": 1}}, "headers"),
        ({"key_env": "NOBODY_SET_THIS"}, "key_env"),
        ({"key_file": "/nowhere/at/all"}, "key_file"),
    ],
)
def test_what_is_wrong_is_named(table: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        RealtimeOptions.from_mapping(table)


@pytest.mark.parametrize(
    ("url", "model", "address"),
    [
        ("ws://h/p", "", "ws://h/p"),
        ("ws://h/p", "a b", "ws://h/p?model=a%20b"),
        ("wss://h/p?x=1", "m", "wss://h/p?x=1&model=m"),
        ("ws://h/p?model=theirs", "ours", "ws://h/p?model=theirs"),
    ],
)
def test_the_model_goes_into_the_address(url: str, model: str, address: str) -> None:
    assert RealtimeOptions(model=model).address(url) == address


def test_an_agent_without_an_address_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="url"):
        open_realtime_agent("")
    open_realtime_agent("", RealtimeOptions(url="ws://host/"))
