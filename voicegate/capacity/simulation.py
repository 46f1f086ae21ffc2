"""A fleet in virtual time: calls come, are placed, end; machines drain and go; a region is lost.

Discrete events, machine by machine and call by call. Placement is by the rules of the program: whoever is
asked offers a call to one machine after another, on what leases said, and each knows only its own room for
sure. Left out: media, networks between regions, agents, and what a busy core does to calls.
"""

from collections.abc import Callable
from heapq import heappop, heappush
from math import inf, log
from typing import Final, NamedTuple, TypeAlias, assert_never

from voicegate.capacity.scenario import Deploy, Outcome, RegionLoss, Scenario
from voicegate.steering.placement import Listed, order_places

__all__ = ["Simulation", "simulate"]

_NEWS_STEPS: Final = 8
"""A load is news when it has changed by this part of the slots (`voicegate.directory.announcer`)."""


def simulate(scenario: Scenario, *, random: Callable[[int], bytes]) -> Outcome:
    """Run a scenario to its end; ``random`` returns so many random bytes."""
    return Simulation(scenario, random=random).run()


class _Caller(NamedTuple):
    """Somebody asks for a call."""

    region: str
    attempt: int = 0
    """How often before."""
    lost_call: int = 0
    """The one that went with a region."""
    is_regular: bool = False
    """Whether there will be a next one."""


class _End(NamedTuple):
    """A call ends, if it is still there."""

    machine: int
    call: int


class _SetUp(NamedTuple):
    """A call has been set up."""

    machine: int


class _Tick(NamedTuple):
    """Leases are renewed, and machines looked after."""


_Event: TypeAlias = _Caller | _End | _SetUp | _Tick


class _Machine:
    """A machine, and what the others know of it."""

    def __init__(self, number: int, region: str, slots: int) -> None:
        self.number: Final = number
        self.region: Final = region
        self.slots: Final = slots
        self.calls: set[int] = set()
        self.set_ups = 0
        self.is_alive = True
        self.is_draining = False
        self.back_at = inf
        self.drained_by = inf
        self.told = 0
        self.listed: Listed | None = None
        self.gone_at = inf

    def takes_calls(self, pending: int) -> bool:
        return (
            self.is_alive and not self.is_draining and len(self.calls) < self.slots and self.set_ups < pending
        )

    def tell(self) -> bool:
        """Write a lease; return whether its load is news."""
        calls = len(self.calls)
        is_full, was_full = calls >= self.slots, self.told >= self.slots
        is_news = is_full != was_full or abs(calls - self.told) >= max(1, self.slots // _NEWS_STEPS)
        if is_news:
            self.told = calls
        self.listed = None if self.is_draining else Listed(self.number, self.region, self.told / self.slots)
        return is_news


class Simulation:
    """One run.

    Args:
        scenario: What happens.
        random: Returns so many random bytes.
    """

    def __init__(self, scenario: Scenario, *, random: Callable[[int], bytes]) -> None:
        self.outcome = Outcome()
        self._scenario = scenario
        self._random = random
        self._machines = [
            _Machine(number, region, scenario.slots)
            for number, region in enumerate(
                region for region, count in scenario.machines.items() for _ in range(count)
            )
        ]
        self._by_region = {
            region: [machine for machine in self._machines if machine.region == region]
            for region in scenario.shares
        }
        self._orders = {
            region: (region, *(other for other in scenario.shares if other != region))
            for region in scenario.shares
        }
        self._events: list[tuple[float, int, _Event]] = []
        self._event_count = self._call_count = 0
        self._shunned: dict[tuple[int, int], float] = {}
        self._lost_region = ""
        self._lost_at = inf
        self._rollouts: dict[str, list[_Machine]] = {}

    def run(self) -> Outcome:
        """Run to the end of the scenario."""
        self._fill()
        for region in self._scenario.shares:
            self._expect_caller(region, 0.0)
        self._push(0.0, _Tick())
        now = 0.0
        while now <= self._scenario.seconds:
            now, _, event = heappop(self._events)
            self._handle(event, now)
        return self.outcome

    # Events

    def _push(self, at: float, event: _Event) -> None:
        self._event_count += 1
        heappush(self._events, (at, self._event_count, event))

    def _handle(self, event: _Event, now: float) -> None:
        match event:
            case _Caller():
                if event.is_regular:
                    self._expect_caller(event.region, now)
                self._offer(event, now)
            case _End(number, call):
                self._machines[number].calls.discard(call)
            case _SetUp(number):
                self._machines[number].set_ups -= 1
            case _Tick():
                self._tick(now)
                self._push(now + self._scenario.lease_seconds, event)
            case _:
                assert_never(event)

    def _expect_caller(self, region: str, now: float) -> None:
        scenario = self._scenario
        rate = scenario.calls * scenario.shares[region] / scenario.call_seconds
        self._push(now + self._exponential(1 / rate), _Caller(region, is_regular=True))

    def _fill(self) -> None:
        """Begin with calls in all regions, evenly, as if it had always been so."""
        scenario = self._scenario
        for region in scenario.shares:
            for _ in range(round(scenario.calls * scenario.shares[region])):
                emptiest = min(self._by_region[region], key=lambda machine: len(machine.calls))
                if len(emptiest.calls) < emptiest.slots:
                    self._begin(emptiest, 0.0)
        for machine in self._machines:
            machine.told = len(machine.calls)

    # Placement

    def _offer(self, caller: _Caller, now: float) -> None:
        """Let somebody ask for a call."""
        outcome, scenario = self.outcome, self._scenario
        outcome.callers += caller.attempt == 0
        machine = self._find(caller.region, now)
        if machine is not None:
            self._take(machine, caller, now)
            return
        outcome.refusals += 1
        outcome.refused_with_room += any(m.takes_calls(scenario.pending) for m in self._machines)
        if caller.attempt + 1 >= scenario.attempts:
            outcome.given_up += 1
            return
        later = now + scenario.retry_seconds * (1 + self._uniform())
        self._push(later, caller._replace(attempt=caller.attempt + 1, is_regular=False))

    def _find(self, region: str, now: float) -> _Machine | None:
        """Ask one machine after the other, as the first that a caller reaches would."""
        entry = self._entry(region, now)
        if entry is None:
            return None
        for number in self._order_places(entry, region, now):
            self.outcome.asked += 1
            machine = self._machines[number]
            if machine.takes_calls(self._scenario.pending):
                return machine
            if not machine.is_alive:
                self._shunned[entry.number, number] = now + self._scenario.shun_seconds
        return None

    def _entry(self, region: str, now: float) -> _Machine | None:
        """Return the machine that a caller reaches first; None when it is one that is not there."""
        loss = self._scenario.loss
        for name in self._orders[region]:
            if name == self._lost_region and loss is not None and now < loss.at + loss.detour_seconds:
                return None
            alive = [m for m in self._by_region[name] if m.is_alive and not m.is_draining]
            if alive:
                return alive[int(self._uniform() * len(alive))]
        return None

    def _order_places(self, entry: _Machine, region: str, now: float) -> list[int]:
        others = [
            machine.listed
            for machine in self._machines
            if machine.listed is not None
            and machine is not entry
            and self._shunned.get((entry.number, machine.number), 0.0) <= now
        ]
        order = order_places(
            others, own_region=entry.region, regions=self._orders[region], random=self._random
        )
        return [entry.number if number is None else number for number in order]

    def _take(self, machine: _Machine, caller: _Caller, now: float) -> None:
        self.outcome.placed += 1
        self.outcome.near += machine.region == caller.region
        if caller.lost_call:
            self.outcome.reconnected.append(now - self._lost_at)
        machine.set_ups += 1
        self._push(now + self._scenario.set_up_seconds, _SetUp(machine.number))
        self._begin(machine, now)

    def _begin(self, machine: _Machine, now: float) -> None:
        self._call_count += 1
        machine.calls.add(self._call_count)
        ends_at = now + self._exponential(self._scenario.call_seconds)
        self._push(ends_at, _End(machine.number, self._call_count))

    # What happens to machines

    def _tick(self, now: float) -> None:
        scenario = self._scenario
        if scenario.loss is not None and not self._lost_region and now >= scenario.loss.at:
            self._lose(scenario.loss, now)
        if scenario.deploy is not None and now >= scenario.deploy.at:
            self._roll_out(scenario.deploy, now)
        stall = scenario.stall
        if stall is None or not stall.at <= now < stall.at + stall.seconds:
            for machine in self._machines:
                if machine.is_alive:
                    self.outcome.load_news += machine.tell()
                elif now >= machine.gone_at + scenario.grace_seconds:
                    machine.listed = None
        self._look(now)

    def _lose(self, loss: RegionLoss, now: float) -> None:
        self._lost_region, self._lost_at = loss.region, now
        for machine in self._by_region[loss.region]:
            machine.is_alive, machine.gone_at, machine.back_at = False, now, inf
            for call in machine.calls:
                self.outcome.lost += 1
                wait = loss.first_seconds + self._uniform() * (loss.last_seconds - loss.first_seconds)
                self._push(now + wait, _Caller(loss.region, lost_call=call))
            machine.calls.clear()

    def _roll_out(self, deploy: Deploy, now: float) -> None:
        if self.outcome.deploy_seconds is not None:
            return
        if not self._rollouts:
            self._rollouts = {region: list(there) for region, there in self._by_region.items()}
        is_over = True
        for region, waiting in self._rollouts.items():
            there = [machine for machine in self._by_region[region] if machine.gone_at == inf]
            is_busy = sum(self._replace(machine, deploy, now) for machine in there) > 0
            if not is_busy and there:
                size = max(1, int(deploy.batch * len(there)))
                for machine in waiting[:size]:
                    machine.is_draining, machine.drained_by = True, now + deploy.drain_seconds
                    is_busy = True
                del waiting[:size]
            is_over &= not is_busy
        if is_over:
            self.outcome.deploy_seconds = now - deploy.at

    def _replace(self, machine: _Machine, deploy: Deploy, now: float) -> bool:
        """Move a machine on that is being replaced; return whether it still is."""
        if machine.is_alive and machine.is_draining and (not machine.calls or now >= machine.drained_by):
            for _ in machine.calls:
                self.outcome.cut += 1
                self._push(now + 1 + 4 * self._uniform(), _Caller(machine.region))
            machine.calls.clear()
            # It has said goodbye, so nobody asks it any more.
            machine.is_alive, machine.listed, machine.back_at = False, None, now + deploy.start_seconds
        elif now >= machine.back_at:
            machine.is_alive, machine.is_draining, machine.back_at = True, False, inf
            machine.told = 0
        return machine.is_draining

    def _look(self, now: float) -> None:
        """See how evenly the calls are spread."""
        if now < self._scenario.seconds / 2:
            return
        for region in self._scenario.shares:
            loads = [
                len(m.calls) / m.slots for m in self._by_region[region] if m.is_alive and not m.is_draining
            ]
            if loads:
                self.outcome.spread = max(self.outcome.spread, max(loads) - min(loads))
                self.outcome.fullest = max(self.outcome.fullest, sum(loads) / len(loads))

    # Helpers

    def _uniform(self) -> float:
        return int.from_bytes(self._random(7), "big") / (1 << 56)

    def _exponential(self, mean: float) -> float:
        return -log(1 - self._uniform()) * mean
