"""How long media is interrupted when a relay worker, or the whole relay, is killed under many live calls."""

import os
import signal
from statistics import median

import trio

from tests.relay.place import Place, open_place

CALLS = 200
SECONDS = 4.0
"""From the killing to the count: longer than until the clients' next checks."""

KILLED = {"nothing": 0, "one worker": 1, "the whole relay": 2}


async def kill(place: Place, workers: int) -> dict[str, list[float]]:
    """Kill workers, and wait; return the longest silences of all calls in seconds, by who heard them."""
    before = await place.wait_heard(2.0)
    place.crowd.listen_anew()
    for pid in before["relays"][:workers]:
        os.kill(pid, signal.SIGKILL)
    await trio.sleep(SECONDS)
    after = await place.read()
    if after["silences"].keys() != before["silences"].keys():
        raise SystemExit("calls have ended")
    silences = {
        "of the server, for clients": place.crowd.silences(trio.current_time()),
        "of clients, for the server": after["silences"].values(),
    }
    if workers:
        silences["the latter, once a worker was ready"] = after["resumed"].values()
    return {who: sorted(seconds) for who, seconds in silences.items()}


async def measure() -> dict[str, dict[str, dict[str, list[float]]]]:
    figures: dict[str, dict[str, dict[str, list[float]]]] = {}
    print(f"longest silences of {CALLS} calls over 2 relay workers, in ms; packets are 20 ms apart")
    print(f"{'killed':17}{'directory':11}{'silence':37}{'median':>7}{'p95':>7}{'longest':>9}")
    for has_directory in (True, False):
        of_directory = figures["with directory" if has_directory else "without directory"] = {}
        async with open_place(workers=2, calls=CALLS, has_directory=has_directory) as place:
            for what, workers in KILLED.items():
                of_directory[what] = await kill(place, workers)
                for who, silences in of_directory[what].items():
                    worst = silences[int(0.95 * len(silences))], silences[-1]
                    line = "".join(f"{1000 * seconds:7.0f}" for seconds in (median(silences), *worst))
                    print(f"{what:17}{'yes' if has_directory else 'no':11}{who:37}{line}", flush=True)
    return figures


def main() -> dict[str, dict[str, dict[str, list[float]]]]:
    return trio.run(measure)


if __name__ == "__main__":
    main()
