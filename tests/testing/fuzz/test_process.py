from voicegate.testing.fuzz.process import explain


def test_a_traceback_is_told_from_what_a_fuzzer_says_around_it() -> None:
    log = """INFO: Instrumenting voicegate
#2	INITED cov: 2 ft: 2 corp: 1/1b exec/s: 0 rss: 82Mb
Traceback (most recent call last):
  File "wire.py", line 4, in read
    value = values[key]
KeyError: 'found you'

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "wire.py", line 5, in read
    raise x
voicegate.testing.script.LawBrokenError: water runs down
==26== ERROR: libFuzzer: fuzz target exited
SUMMARY: libFuzzer: fuzz target exited
""".splitlines()
    detail, trace = explain(log)
    assert detail == "voicegate.testing.script.LawBrokenError: water runs down"
    assert trace.startswith("Traceback")
    assert trace.endswith(detail)


def test_where_a_process_hangs_is_told() -> None:
    log = ["#2 INITED", "Current thread 0x1 (most recent call first):", '  File "wire.py", line 7 in read']
    assert explain(log) == ('File "wire.py", line 7 in read', "\n".join(log[1:]))


def test_a_deadly_signal_is_told() -> None:
    log = ["INFO: Seed: 1", "==5== ERROR: libFuzzer: deadly signal", "SUMMARY: libFuzzer: deadly signal"]
    assert explain(log) == ("==5== ERROR: libFuzzer: deadly signal", "")


def test_of_silence_nothing_is_told() -> None:
    assert explain([]) == ("", "")
