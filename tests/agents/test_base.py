import sys
from pathlib import Path

import pytest

from voicegate.agents import echo, load_agent, parrot, transcode
from voicegate.errors import UsageError


def test_ready_agents_go_by_their_names() -> None:
    assert load_agent("echo") is echo
    assert load_agent("parrot") is parrot
    assert load_agent("transcode") is transcode


def test_an_agent_of_yours_goes_by_module_and_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_agents.py").write_text(
        "async def greeter(call):\n    pass\n\ndef plain(call):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_agent("my_agents:greeter") is sys.modules["my_agents"].greeter
    with pytest.raises(UsageError, match=r"no `async def plain\(call\)`"):
        load_agent("my_agents:plain")


@pytest.mark.parametrize("name", ["", "nobody", ":f", "json:", "no.such.module:f", "json:no_such_function"])
def test_a_wrong_name_is_told_back(name: str) -> None:
    with pytest.raises(UsageError, match=f"agent '{name}'"):
        load_agent(name)
