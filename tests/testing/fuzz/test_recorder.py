from pathlib import Path

from voicegate.testing.fuzz.recorder import CAPACITY, Recorder


def test_what_one_process_records_another_reads(tmp_path: Path) -> None:
    ours, theirs = Recorder(tmp_path / "recorder"), Recorder(tmp_path / "recorder")
    assert (theirs.count, theirs.data) == (0, b"")
    ours.record(b"first")
    ours.record(b"2")
    assert (theirs.count, theirs.data) == (2, b"2")


def test_an_input_that_is_too_long_is_cut(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "recorder")
    recorder.record(bytes(CAPACITY + 1))
    assert recorder.data == bytes(CAPACITY)
