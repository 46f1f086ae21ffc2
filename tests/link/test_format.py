import pytest

from voicegate.link import FORMATS, choose_format


@pytest.mark.parametrize(
    ("wanted", "codec", "rate", "chosen"),
    [
        ((), "opus", 48_000, "pcm16/24000"),
        (("flac", "pcmu", "opus"), "opus", 48_000, "pcmu"),
        (("opus", "pcma"), "opus", 48_000, "opus"),
        (("opus", "pcma"), "opus", 24_000, "opus"),
        (("opus", "pcma"), "pcmu", 8000, "pcma"),
        (("opus",), "g722", 16_000, "pcm16/24000"),
        (("opus",), "g722", 48_000, "pcm16/24000"),
        (("pcm16",), "g722", 16_000, "pcm16/16000"),
        (("pcm16/8000",), "opus", 48_000, "pcm16/8000"),
    ],
)
def test_the_first_format_that_a_call_can_have_is_chosen(
    wanted: tuple[str, ...], codec: str, rate: int, chosen: str
) -> None:
    assert choose_format(wanted, codec=codec, sample_rate=rate) is FORMATS[chosen]


def test_only_g711_has_a_law() -> None:
    assert {name: form.law for name, form in FORMATS.items() if form.law} == {"pcmu": "PCMU", "pcma": "PCMA"}
