"""Finding an agent by the name that a configuration gives it."""

import importlib
import inspect
from typing import cast

from voicegate.agents.echo import echo
from voicegate.agents.parrot import parrot
from voicegate.agents.transcode import transcode
from voicegate.call import Agent
from voicegate.errors import UsageError

__all__ = ["load_agent"]

_READY: dict[str, Agent] = {"echo": echo, "parrot": parrot, "transcode": transcode}


def load_agent(name: str) -> Agent:
    """Return a ready agent, or the function that ``package.module:function`` names.

    Ready are ``echo``, ``parrot`` and ``transcode``.

    Errors: UsageError, saying what is wrong with the name.
    """
    if name in _READY:
        return _READY[name]
    module_name, colon, function_name = name.partition(":")
    if not colon or not module_name or not function_name:
        raise UsageError(f"agent {name!r}: neither one of {', '.join(_READY)} nor package.module:function")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise UsageError(f"agent {name!r}: {error}") from error
    function = getattr(module, function_name, None)
    if not inspect.iscoroutinefunction(function):
        raise UsageError(f"agent {name!r}: {module_name} has no `async def {function_name}(call)`")
    return cast("Agent", function)
