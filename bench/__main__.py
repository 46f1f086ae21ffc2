"""``make bench``: every figure that the README gives, measured anew."""

import json
from pathlib import Path

from cyclopts import App

from bench import barge_in, cascade, churn, echo_delay, first_call, handshakes, misbehaviour, relay_death

app = App(name="bench", help="Measures voicegate, beside a reference in the same run.")


@app.default
def run(*, runs: int = 7, calls: int = 20, output: Path | None = None) -> None:
    """Measure set-up and mouth-to-ear delay in Chromium, what the server adds to it, handshakes,
    silences when a relay is killed, how long an interrupted agent is heard, what bad agents do to others,
    what voicegate adds to an answer of models, what ten thousand calls leave.

    Args:
        runs: Calls from Chromium to each server.
        calls: Calls in which frames are echoed.
        output: Where to write all figures as JSON.
    """
    figures = {
        "echo_delay": echo_delay.main(calls),
        "first_call": first_call.main(runs),
        "handshakes": handshakes.main(),
        "relay_death": relay_death.main(),
        "barge_in": barge_in.main(),
        "misbehaviour": misbehaviour.main(),
        "cascade": cascade.main(),
        "churn": churn.main(),
    }
    if output is not None:
        output.write_text(json.dumps(figures, indent=1))


app()
