from pathlib import Path

import pytest

from voicegate.cli.configuration import check, show


def test_what_is_wrong_is_said_and_ends_with_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "voicegate.toml"
    file.write_text("max_calls = 0\nworkers = [1]\n")
    with pytest.raises(SystemExit) as ended:
        check(file)
    assert ended.value.code == 2
    assert [line.partition(": ")[0] for line in capsys.readouterr().err.splitlines()] == ["error", "error"]


def test_what_is_right_is_said_with_what_is_odd(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEGATE_WORKER", "3")
    check(None)
    assert capsys.readouterr().err == (
        "warning: VOICEGATE_WORKER in the environment has no meaning; did you mean VOICEGATE_WORKERS?\n"
        "The environment is good for `voicegate serve`\n"
    )


def test_only_what_means_something_to_a_role_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VOICEGATE_SECRETS", "correct horse battery staple")
    monkeypatch.setenv("VOICEGATE_DIRECTORY", "redis://127.0.0.1")
    show(None, role="relay")
    said = capsys.readouterr().out
    assert 'secrets = ["***"]  # VOICEGATE_SECRETS\n' in said
    assert "udp = " in said
    assert "# tcp is not set  # default" in said
    assert "agent" not in said
