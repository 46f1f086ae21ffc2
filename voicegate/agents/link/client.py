"""An agent's server, as an agent like any other."""

import trio

from voicegate.agents.link.option import LinkOptions
from voicegate.agents.link.session import AgentLinkError, LinkSession
from voicegate.call import Agent, Call
from voicegate.errors import UsageError
from voicegate.link.hello import Shape

__all__ = ["AgentLinkError", "run_link_agent"]

_SCHEMES = ("ws://", "wss://")


async def run_link_agent(
    url: str,
    options: LinkOptions | None = None,
    *,
    task_status: trio.TaskStatus[Agent] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Have the agent's server at a URL answer calls, for ever; ``started`` with what takes them.

    It need not be there yet, and may go away: calls wait for it, and those that go on are kept for as long as
    the options say.

    Errors: UsageError for a URL of another scheme, or certificates that can't be used.
    Cancellation: ends the calls.
    """
    if not url.startswith(_SCHEMES):
        raise UsageError(f"agent {url!r}: a link begins with {' or '.join(_SCHEMES)}")
    options = options or LinkOptions()
    async with trio.open_nursery() as nursery:
        agent = _LinkAgent(url, options, nursery)
        task_status.started(agent)
        await agent.run()


class _LinkAgent:
    """All calls of one agent's server."""

    def __init__(self, url: str, options: LinkOptions, nursery: trio.Nursery) -> None:
        self.__name__ = url
        self._url = url
        self._options = options
        self._nursery = nursery
        self._ssl_context = options.ssl_context() if url.startswith("wss://") else None
        self._shared = self._open("calls") if options.shape == "calls" else None

    async def run(self) -> None:
        """Have the socket of all calls, if there is to be one."""
        if self._shared is not None:
            await self._shared.run()
            self._shared = None  # The agent wants one for each call.
        await trio.sleep_forever()

    async def __call__(self, call: Call) -> None:
        """Have a call answered.

        Errors: AgentLinkError.
        """
        if (shared := self._shared) is not None:
            await shared.answer(call)
            if not shared.wants_own_sockets:
                return
        own = self._open("call")
        # Not in the call's own task, which may be cancelled: its last words are still to be sent.
        self._nursery.start_soon(own.run)
        try:
            await own.answer(call)
        finally:
            self._nursery.start_soon(own.finish)

    def _open(self, shape: Shape) -> LinkSession:
        return LinkSession(self._url, self._options, shape=shape, ssl_context=self._ssl_context)
