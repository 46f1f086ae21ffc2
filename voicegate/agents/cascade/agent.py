"""The agent itself."""

import ssl

import trio

from voicegate.agents.cascade.options import CascadeOptions
from voicegate.call import Agent, Call

__all__ = ["open_cascade"]


def open_cascade(options: CascadeOptions) -> Agent:
    """Return an agent that answers with these models.

    Errors: UsageError when the environment lacks a key that is named, or a library is not installed.
    """
    options.read_keys()
    # Who has no cascade needs none of the libraries; who has one loads them now, not during a call.
    from voicegate.agents.cascade.backend import open_backend
    from voicegate.agents.cascade.conversation import Conversation
    from voicegate.agents.cascade.toolbox import open_toolbox, require_mcp

    if options.mcp or options.allows_client_mcp:
        require_mcp()
    trust = ssl.create_default_context()

    async def cascade(call: Call) -> None:
        """Converse until the call ends."""
        async with (
            open_backend(options, trust=trust) as backend,
            open_toolbox(options) as toolbox,
            trio.open_nursery() as nursery,
        ):
            conversation = Conversation(call, options, backend=backend, toolbox=toolbox, nursery=nursery)
            await conversation.run()

    return cascade
