"""What a log line keeps to itself."""

import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from voicegate.errors import UsageError
from voicegate.observability import configure_logging, log, logging_settings, redact


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    yield
    structlog.contextvars.clear_contextvars()
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        ("192.0.2.17", "192.0.x"),
        ("192.0.2.17:5000", "192.0.x"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2:x"),
        ("2001:db8::7", "2001:db8:x"),
        ("localhost", "x"),
        ("", "x"),
    ],
)
def test_an_address_keeps_what_tells_networks_apart(address: str, kept: str) -> None:
    assert redact(address) == kept


def test_a_line_is_json_with_its_call_and_without_the_clients_address(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging(level="info", json=True)
    structlog.contextvars.bind_contextvars(call="rtc_1")
    structlog.get_logger().info("call_connected", client="192.0.2.17", codec="opus")
    line = json.loads(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "call_connected",
        "level": "info",
        "call": "rtc_1",
        "client": "192.0.x",
        "codec": "opus",
    }


def test_an_exception_is_told_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(json=True)
    try:
        int("broken")
    except ValueError:
        structlog.get_logger().exception("call_failed")
    line = json.loads(capsys.readouterr().err)
    assert line["level"] == "error"
    assert "ValueError: invalid literal" in line["exception"]


def test_less_than_the_level_is_not_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(level="warning", json=True)
    structlog.get_logger().info("nothing")
    structlog.get_logger().warning("something")
    assert json.loads(capsys.readouterr().err)["event"] == "something"


@pytest.mark.parametrize("is_terminal", [True, False])
def test_people_at_a_terminal_are_not_given_json(
    is_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: is_terminal)
    configure_logging()
    structlog.get_logger().info("ready", client="192.0.2.17")
    said = capsys.readouterr().err
    assert said.startswith("{") is not is_terminal
    assert "ready" in said
    assert "192.0.2.17" not in said


def test_a_child_process_can_be_told_to_log_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_settings", {})
    assert logging_settings() is None
    configure_logging(level="debug", json=True)
    assert logging_settings() == {"level": "debug", "json": True}


def test_a_level_that_is_none_is_named() -> None:
    with pytest.raises(UsageError, match="loud"):
        configure_logging(level="loud")
