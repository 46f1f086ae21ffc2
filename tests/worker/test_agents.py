"""Agents by name."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import trio

from voicegate.access import Grant
from voicegate.agents import echo, parrot
from voicegate.call import Agent, Call
from voicegate.config import AgentSpec, Config
from voicegate.errors import UsageError
from voicegate.worker.agents import Agents, run_agent, run_agents


async def mine(call: Call) -> None:
    """Answer."""


AGENTS = Agents(mine, name="default", named={"echo": echo, "parrot": parrot})


def test_a_client_picks_an_agent_by_its_model_and_gets_the_default_for_any_other() -> None:
    assert AGENTS.choose(model="echo", grant=Grant()) is echo
    assert AGENTS.choose(model="gpt-realtime", grant=Grant()) is mine
    assert AGENTS.choose(model="", grant=Grant()) is mine
    assert AGENTS.choose(model="ws://evil.example", grant=Grant()) is mine


def test_a_key_with_an_agent_leaves_no_choice() -> None:
    assert AGENTS.choose(model="echo", grant=Grant(agent="parrot")) is parrot
    assert AGENTS.choose(model="echo", grant=Grant(agent="default")) is mine


def test_an_agent_is_found_by_its_name_only() -> None:
    assert AGENTS.find("default") is mine
    with pytest.raises(UsageError, match="no agent 'nobody'"):
        AGENTS.find("nobody")


async def test_all_agents_of_a_configuration_are_there(nursery: trio.Nursery) -> None:
    config = Config(agent="loud", agents={"loud": "echo", "shy": "parrot"})
    agents: Agents = await nursery.start(run_agents, config)
    assert (agents.name, agents.find("loud"), agents.find("shy")) == ("loud", echo, parrot)
    agents = await nursery.start(lambda task_status: run_agents(config, agent=mine, task_status=task_status))
    assert (agents.name, agents.choose(model="", grant=Grant())) == ("mine", mine)


@pytest.mark.parametrize(
    ("spec", "cause"),
    [
        (AgentSpec(use="nobody"), "'nobody': neither one of"),
        (
            AgentSpec(use="echo", options={"voice": "amy"}),
            r"agents\.x: echo has no options, but voice is given",
        ),
    ],
)
async def test_what_is_wrong_with_an_agent_is_said(spec: AgentSpec, cause: str) -> None:
    with pytest.raises(UsageError, match=cause):
        await run_agent(spec, name="x")


class Options(SimpleNamespace):
    @classmethod
    def from_mapping(cls, table: dict[str, Any]) -> "Options":
        return cls(**table)


async def test_agents_of_other_kinds_are_imported_when_they_are_named(
    monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def open_agent(*arguments: Any) -> Agent:
        *url, options = arguments
        asked.append((*url, vars(options)))
        return mine

    async def run_link_agent(url: str, options: Options, *, task_status: trio.TaskStatus[Agent]) -> None:
        task_status.started(open_agent(url, options))

    def install(name: str, **members: object) -> None:
        module = ModuleType(name)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, f"voicegate.agents.{name}", module)

    install("link", run_link_agent=run_link_agent, LinkOptions=Options)
    install("realtime", open_realtime_agent=open_agent, RealtimeOptions=Options)
    install("cascade", open_cascade=open_agent, CascadeOptions=Options)
    for use in ("ws://a:1/b", "wss://a", "realtime:wss://c", "realtime", "cascade"):
        agent: Agent = await nursery.start(run_agent, AgentSpec(use=use, options={"key": use}))
        assert agent is mine
    assert asked == [
        ("ws://a:1/b", {"key": "ws://a:1/b"}),
        ("wss://a", {"key": "wss://a"}),
        ("wss://c", {"key": "realtime:wss://c"}),
        ("", {"key": "realtime"}),
        ({"key": "cascade"},),
    ]
    monkeypatch.setitem(sys.modules, "voicegate.agents.cascade", None)
    with pytest.raises(UsageError, match="of the kind 'cascade' are not installed"):
        await run_agent(AgentSpec(use="cascade"))
