"""What an operator can say of a cascade."""

from typing import Any

import pytest

from voicegate.agents.cascade import CascadeOptions, Endpoint, McpServer, open_cascade
from voicegate.errors import UsageError

LOCAL = {"base_url": "http://127.0.0.1:9/v1/", "model": "small"}


def test_a_table_says_all() -> None:
    options = CascadeOptions.from_mapping(
        {
            "transcription": LOCAL,
            "chat": {"model": "large", "key": "CHAT_KEY", "extra": {"temperature": 0.3}},
            "voice": "anna",
            "voices": ["anna", "ben"],
            "sample_rate": 16000,
            "languages": ["de"],
            "partial_seconds": 1,
            "mcp": {
                "files": {"command": ["files", "--all"], "require_approval": "always"},
                "web": {"url": "https://example.com/mcp", "allowed_tools": ["search"]},
            },
        }
    )
    assert options.transcription == Endpoint(base_url="http://127.0.0.1:9/v1", model="small")
    assert options.chat.extra == {"temperature": 0.3}
    assert options.partial_seconds == 1.0
    assert options.mcp == (
        McpServer(label="files", command=("files", "--all"), require_approval="always"),
        McpServer(label="web", url="https://example.com/mcp", allowed_tools=("search",)),
    )
    assert not options.allows_client_mcp


@pytest.mark.parametrize(
    ("table", "place"),
    [
        ({"voise": "x"}, "voise"),
        ({"voice": ""}, "voice"),
        ({"voices": "anna"}, "voices"),
        ({"guesses": 1}, "guesses"),
        ({"sample_rate": 44100}, "sample_rate"),
        ({"max_history": 0}, "max_history"),
        ({"max_history": 1.5}, "max_history"),
        ({"partial_seconds": True}, "partial_seconds"),
        ({"chat": "gpt"}, "chat"),
        ({"chat": {"base_url": "http://x/v1"}}, "chat.model"),
        ({"chat": {"model": "m", "base_url": "ftp://x"}}, "chat.base_url"),
        ({"chat": {"model": "m", "base_url": "http://x:99999999"}}, "chat.base_url"),
        ({"chat": {"model": "m", "extra": 1}}, "chat.extra"),
        ({"chat": {"model": "m", "base_url": "http://[x"}}, "chat.base_url"),
        ({"mcp": {"web": 7}}, "mcp.web"),
        ({"mcp": {"web": {}}}, "mcp.web"),
        ({"mcp": {"web": {"url": "https://x", "require_approval": "maybe"}}}, "mcp.web.require_approval"),
    ],
)
def test_what_is_wrong_is_refused_by_its_name(table: dict[str, Any], place: str) -> None:
    with pytest.raises(UsageError, match=f"^{place}"):
        CascadeOptions.from_mapping(table)


def test_keys_come_from_the_environment_and_go_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "for openai")
    monkeypatch.setenv("CHAT_KEY", "for chat")
    options = CascadeOptions.from_mapping(
        {"transcription": LOCAL, "chat": {"model": "m", "base_url": "http://x/v1", "key": "CHAT_KEY"}}
    )
    assert options.read_keys() == {"transcription": None, "chat": "for chat", "speech": "for openai"}
    assert "for chat" not in repr(options)


def test_a_key_that_is_named_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHAT_KEY", raising=False)
    options = CascadeOptions.from_mapping({"chat": {"model": "m", "key": "CHAT_KEY"}})
    with pytest.raises(UsageError, match="CHAT_KEY"):
        open_cascade(options)
