"""``voicegate fuzz``: the command line of what is here.

Layer: shell (Trio).
"""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import App, Parameter

__all__ = ["app", "fuzz"]

app = App(
    name="fuzz", help="Feed hostile input to a parser or a protocol core until it breaks or the time is over."
)


@app.default
def fuzz(
    target: str = "",
    *,
    list_: Annotated[bool, Parameter(name="--list", negative="")] = False,
    seconds: float = 60.0,
    corpus: Path | None = None,
    jobs: int = 1,
    json: Path | None = None,
    replay: Path | None = None,
    findings: Path = Path(),
    engine: Literal["atheris", "mutation"] | None = None,
    hang_limit: float = 5.0,
    memory: int = 512,
) -> None:
    """Feed hostile input to a parser or a protocol core until it breaks or the time is over.

    Args:
        target: One of `--list`, the beginning of some (`dtls.v12`), or `all`.
        list_: Name all targets.
        seconds: Time for each target.
        corpus: Folder with inputs by target; what reaches something new is added.
        jobs: Targets at the same time.
        json: File for the results, written as they come.
        replay: Run this input again instead.
        findings: Folder for what broke a target.
        engine: atheris is guided by coverage and is used if it is installed.
        hang_limit: Seconds of processor time that one input may take.
        memory: MiB that the process may take.
    """
    # Here and not above: `voicegate --help` needs none of it.
    from voicegate.testing.fuzz.campaign import run_campaign, select
    from voicegate.testing.fuzz.run import Settings, installed_engine
    from voicegate.testing.targets import TARGETS

    if list_:
        sys.stdout.writelines(f"{name}\n" for name in sorted(TARGETS))
        return
    settings = Settings(
        engine=engine or installed_engine(),
        seconds=seconds,
        hang_limit=hang_limit,
        memory_mib=memory,
        corpus=corpus,
        findings=findings,
    )
    sys.exit(run_campaign(select(target, TARGETS), settings, jobs=jobs, output=json, reproducer=replay))
