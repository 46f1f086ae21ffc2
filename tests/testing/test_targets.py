"""All targets, on any bytes and on what is in the corpus; and that nothing is without a target."""

import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voicegate.testing.script import DELAYS, LawBrokenError, drain, read_script, require, settle, write_script
from voicegate.testing.targets import SCRIPTED, TARGETS

CORPUS = Path(__file__).parents[1] / "corpus"
CORES = (
    "wire",
    "ice",
    "dtls",
    "srtp",
    "sctp",
    "datachannel",
    "realtime",
    "link",
    "access",
    "steering",
    "rtp",
    "sdp",
    "audio",
)

WITHOUT_TARGET = {
    "audio.codec.Codec.decode": "a Protocol",
    "sdp.transport.RemoteTransport.read": "takes a SessionDescription; reached through sdp.answer.answer",
    "sdp.grammar.read_number": "a piece of the attributes, each of which has a target",
    "dtls.signature.DigitallySigned.read": "what decode is made of",
    "sdp.data.DataParameters.read": "takes pieces of a SessionDescription; reached likewise",
    "sctp.handshake.Handshake.read_cookie": "what sctp.cookie.Baker.read is for, and a timer",
    "wire.buffer.Reader.read": "takes a length, not a peer's bytes",
    **dict.fromkeys(
        (
            f"rtp.rtcp.{name}.read"
            for name in (
                "Goodbye",
                "ReceiverReport",
                "ReportBlock",
                "SenderReport",
                "SourceChunk",
                "SourceDescription",
            )
        ),
        "a piece of decode_compound",
    ),
    **dict.fromkeys(
        (
            f"rtp.extended_report.{name}.read"
            for name in ("DelayReport", "ReceiverReferenceTime", "StatisticsSummary")
        ),
        "a piece of ExtendedReport",
    ),
}


datagrams = st.binary(max_size=80) | st.sampled_from(
    [path.read_bytes()[:1500] for path in sorted(CORPUS.rglob("chromium*.bin"))] or [b""]
)
scripts = st.lists(st.tuples(st.integers(0, 15), st.sampled_from(DELAYS), datagrams), max_size=12).map(
    write_script
)


def corpus(name: str) -> list[Path]:
    return sorted((CORPUS / name).iterdir())


def parsers() -> Iterator[str]:
    """Name each public function and method in a core that says it takes a peer's bytes or text."""
    for core in CORES:
        package = import_module(f"voicegate.{core}")
        modules = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
        names = [module.name for module in modules]
        for module in map(import_module, names):
            for holder in [module, *(value for value in vars(module).values() if inspect.isclass(value))]:
                for name, function in inspect.getmembers(holder, inspect.isroutine):
                    is_ours = getattr(function, "__module__", None) == module.__name__
                    if is_ours and re.match(r"(decode|parse|read)(_|$)", name):
                        yield f"{module.__name__}.{function.__qualname__}".removeprefix("voicegate.")


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(data=st.binary(max_size=400) | st.binary(max_size=2048) | scripts)
def test_any_bytes_are_survived(name: str, data: bytes) -> None:
    TARGETS[name](data)


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=60)
@given(choice=st.data())
def test_what_is_like_a_real_input_is_survived(name: str, choice: st.DataObject) -> None:
    data = bytearray(choice.draw(st.sampled_from(corpus(name))).read_bytes())
    for where, value in choice.draw(
        st.lists(st.tuples(st.integers(0, 2047), st.integers(0, 255)), max_size=4)
    ):
        if where < len(data):
            data[where] = value
    TARGETS[name](bytes(data[: choice.draw(st.integers(0, len(data)))]))


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_is_survived(name: str) -> None:
    for path in corpus(name):
        TARGETS[name](path.read_bytes())


def test_the_corpus_is_of_targets_only() -> None:
    assert {path.name for path in CORPUS.iterdir() if path.is_dir()} == TARGETS.keys()


def test_every_parser_has_a_target() -> None:
    found = set(parsers())
    assert found >= WITHOUT_TARGET.keys()
    targeted = {name for name in found if any(target.startswith(name) for target in TARGETS)}
    assert found - WITHOUT_TARGET.keys() - targeted == set()
    assert targeted & WITHOUT_TARGET.keys() == set()


@given(st.lists(st.tuples(st.integers(0, 15), st.sampled_from(DELAYS), st.binary(max_size=300)), max_size=64))
def test_a_script_reads_as_it_was_written(steps: list[tuple[int, float, bytes]]) -> None:
    read = list(read_script(write_script(steps)))
    assert [(step.kind, step.data) for step in read] == [(kind, data) for kind, _delay, data in steps]
    now = 0.0
    for step, (_kind, delay, _data) in zip(read, steps, strict=True):
        now += delay
        assert step.now == now


def test_a_script_that_is_cut_short_gives_what_is_there() -> None:
    assert [
        step.data for step in read_script(write_script([(1, 0.0, b"all"), (2, 0.0, b"cut off")])[:-4])
    ] == [
        b"all",
        b"cut",
    ]


def test_a_script_is_bounded() -> None:
    assert len(list(read_script(bytes(3000)))) == 64


def test_the_targets_that_take_scripts_are_targets() -> None:
    assert TARGETS.keys() > SCRIPTED


def test_a_broken_law_is_an_error_that_no_target_swallows() -> None:
    with pytest.raises(LawBrokenError, match="water"):
        require(False, "water runs down")
    assert issubclass(LawBrokenError, AssertionError)


def test_output_without_end_is_noticed() -> None:
    with pytest.raises(LawBrokenError):
        drain(iter(lambda: b"more", None))


class Impatient:
    """Wants the same instant for ever."""

    def poll_timeout(self) -> float:
        return 1.0

    def handle_timeout(self, *, now: float) -> None:
        pass


def test_a_core_that_spins_is_noticed() -> None:
    settle(Impatient(), now=0.5)
    with pytest.raises(LawBrokenError):
        settle(Impatient(), now=1.0)
