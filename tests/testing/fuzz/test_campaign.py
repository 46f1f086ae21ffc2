"""Whole campaigns, on targets with something wrong in them; each in a process, as always."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from voicegate.errors import UsageError
from voicegate.testing.fuzz.campaign import run_campaign, select
from voicegate.testing.fuzz.corpus import inputs
from voicegate.testing.fuzz.run import Engine, Settings, installed_engine
from voicegate.testing.targets import TARGETS

BROKEN = "tests.testing.fuzz.broken"
ENGINES: list[Engine] = sorted({"mutation", installed_engine()})


@pytest.fixture(autouse=True)
def in_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])


def test_a_target_is_selected_by_its_name_or_those_it_is_below() -> None:
    assert select("ice.stun.Message.decode", TARGETS) == ["ice.stun.Message.decode"]
    assert select("ice", TARGETS) == sorted(name for name in TARGETS if name.startswith("ice."))
    assert select("all", TARGETS) == sorted(TARGETS)
    assert select("somewhere.else:parse", TARGETS) == ["somewhere.else:parse"]


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("stun", "ice.stun.Message.decode"),
        ("ClientHelo", "dtls.hello.ClientHello.decode"),
        ("", None),
        ("xyzzy", None),
    ],
)
def test_a_target_that_is_none_is_refused_with_what_was_meant(wanted: str, meant: str | None) -> None:
    with pytest.raises(UsageError, match=f"no target '{wanted}'") as caught:
        select(wanted, TARGETS)
    assert ("did you mean" in str(caught.value)) == (meant is not None)
    assert (meant or "--list") in str(caught.value)


def test_what_is_fuzzed_is_imported_after_the_fuzzer_has_begun_to_look() -> None:
    source = "import sys, voicegate.testing.fuzz.worker; print(*(m for m in sys.modules if 'voicegate' in m))"
    imported = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert {name.split(".")[1] for name in imported.stdout.split() if "." in name} == {"errors", "testing"}


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("target", "kind", "detail"),
    [
        ("crash", "crash", "KeyError: 'found you'"),
        ("hang", "hang", "in hang"),
        ("leak", "memory", "MemoryGrownError"),
        ("die", "crash", "SIGKILL"),
    ],
)
def test_what_breaks_a_target_is_found_written_and_found_again(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], engine: Engine, target: str, kind: str, detail: str
) -> None:
    settings = Settings(
        engine=engine, seconds=60.0, hang_limit=0.5, findings=tmp_path / "findings", memory_mib=400
    )
    output = tmp_path / "results.json"
    assert run_campaign([f"{BROKEN}:{target}"], settings, output=output) == 1
    (result,) = json.loads(output.read_text())
    assert result["engine"] == engine
    assert result["executions"] > 0
    assert result["finding"]["kind"] == kind
    assert detail in result["finding"]["detail"]
    (reproducer,) = inputs(tmp_path / "findings")
    assert result["reproducer"] == str(reproducer)
    assert f"voicegate fuzz {BROKEN}:{target} --replay {reproducer}" in capfd.readouterr().err
    if kind != "memory":  # the last straw breaks nothing by itself
        assert run_campaign([f"{BROKEN}:{target}"], settings, reproducer=reproducer) == 1
    assert inputs(tmp_path / "findings") == [reproducer]


@pytest.mark.slow
def test_a_finding_does_not_stop_the_others(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    settings = Settings(engine="mutation", seconds=0.5, findings=tmp_path)
    targets = [f"{BROKEN}:{name}" for name in ("crash", "nowhere", "sound")]
    output = tmp_path / "results.json"
    assert run_campaign(targets, settings, jobs=2, output=output) == 1
    kinds = {
        result["target"].partition(":")[2]: result["finding"] and result["finding"]["kind"]
        for result in json.loads(output.read_text())
    }
    assert kinds == {"crash": "crash", "nowhere": "start", "sound": None}
    said = capfd.readouterr()
    assert "3/3" in said.err
    assert "has no attribute 'nowhere'" in said.err
    assert all(target in said.out for target in targets)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_a_sound_target_is_clean_and_what_was_found_is_kept(tmp_path: Path, engine: Engine) -> None:
    corpus = tmp_path / f"{BROKEN}:sound"
    corpus.mkdir()
    (corpus / "seed").write_bytes(b"ab" * 40)
    settings = Settings(engine=engine, seconds=1.0, corpus=tmp_path, findings=tmp_path / "findings")
    assert run_campaign([f"{BROKEN}:sound"], settings) == 0
    assert not (tmp_path / "findings").exists()
    assert (corpus / "seed").read_bytes() == b"ab" * 40
    if engine == "atheris":
        assert len(inputs(corpus)) > 1


@pytest.mark.slow
def test_a_script_is_fuzzed_step_by_step(tmp_path: Path) -> None:
    for engine in ENGINES:
        settings = Settings(engine=engine, seconds=1.0, findings=tmp_path)
        assert run_campaign(["audio.receive.ReceiveBuffer"], settings) == 0


@pytest.mark.parametrize(
    ("settings", "jobs", "fault"),
    [
        (Settings(seconds=0.0), 1, "--seconds"),
        (Settings(), 0, "--jobs"),
        (Settings(corpus=Path("nowhere")), 1, "nowhere does not exist"),
    ],
)
def test_a_mistake_is_refused(settings: Settings, jobs: int, fault: str) -> None:
    with pytest.raises(UsageError, match=fault):
        run_campaign(["ice.stun.Message.decode"], settings, jobs=jobs)
