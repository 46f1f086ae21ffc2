"""The agents that a configuration names: those that are ready, and those that have to be reached."""

from collections.abc import Mapping
from functools import partial
from importlib import import_module
from typing import Any, Final

import trio

from voicegate.access import Grant
from voicegate.agents import load_agent
from voicegate.agents.process import run_agent_process
from voicegate.call import Agent
from voicegate.config import AgentSpec, Config
from voicegate.errors import UsageError

__all__ = ["Agents", "run_agent", "run_agents"]

_REALTIME: Final = "realtime"
"""With a URL behind a colon, or in the options."""


class Agents:
    """Agents by name, and the one for calls that name none of them."""

    def __init__(self, default: Agent, *, name: str, named: Mapping[str, Agent] | None = None) -> None:
        self.name: Final = name
        """What the default one is called."""
        self._default = default
        self._named = {name: default, **(named or {})}

    def choose(self, *, model: str, grant: Grant) -> Agent:
        """Return who answers a call: the key's own agent, the one that the client names, or the default."""
        return self._named.get(grant.agent or model, self._default)

    def find(self, name: str) -> Agent:
        """Return the agent of a name.

        Errors: UsageError when there is none.
        """
        if name not in self._named:
            raise UsageError(f"no agent {name!r} is configured")
        return self._named[name]


async def run_agents(
    config: Config,
    *,
    agent: Agent | None = None,
    task_status: trio.TaskStatus[Agents] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Have all agents of a configuration; what ``nursery.start`` returns knows them.

    Args:
        config: Names them.
        agent: The default one, if it is not one of those.
        task_status: Told once all can take calls.

    Errors: UsageError, saying which one is wrong and how.
    """
    async with trio.open_nursery() as nursery:
        named: dict[str, Agent] = {}
        for name, spec in config.agents.items():
            named[name] = await nursery.start(partial(run_agent, spec, name=name))
        if agent is not None:
            task_status.started(Agents(agent, name=_name_of(agent), named=named))
        else:
            default = named.get(config.agent) or await nursery.start(run_agent, config.default_agent)
            task_status.started(Agents(default, name=config.agent, named=named))
        await trio.sleep_forever()


async def run_agent(
    spec: AgentSpec, *, name: str = "", task_status: trio.TaskStatus[Agent] = trio.TASK_STATUS_IGNORED
) -> None:
    """Have one agent; what ``nursery.start`` returns takes calls for it.

    A ready one runs here, any other in a process of its own, or wherever its URL leads, because what it does
    would otherwise make frames late. Those that need libraries of their own are imported when they are named.

    Errors: UsageError, saying what is wrong. Cancellation: ends the agent's process, or leaves it.
    """
    use, options = spec.use, spec.options
    if use.startswith(("ws://", "wss://")):
        link = _module("link")
        await link.run_link_agent(use, link.LinkOptions.from_mapping(options), task_status=task_status)
    elif use == _REALTIME or use.startswith((f"{_REALTIME}:ws://", f"{_REALTIME}:wss://")):
        realtime = _module("realtime")
        url = use.partition(":")[2]
        task_status.started(realtime.open_realtime_agent(url, realtime.RealtimeOptions.from_mapping(options)))
    elif use == "cascade":
        cascade = _module("cascade")
        task_status.started(cascade.open_cascade(cascade.CascadeOptions.from_mapping(options)))
    elif options:
        raise UsageError(f"agents.{name or use}: {use} has no options, but {', '.join(options)} is given")
    elif ":" in use:
        await run_agent_process(use, task_status=task_status)
    else:
        task_status.started(load_agent(use))


def _module(name: str) -> Any:  # noqa: ANN401 - each is as its package says
    try:
        return import_module(f"voicegate.agents.{name}")
    except ImportError as error:
        raise UsageError(f"agents of the kind {name!r} are not installed: {error}") from error


def _name_of(agent: Agent) -> str:
    return str(getattr(agent, "__name__", type(agent).__name__))
