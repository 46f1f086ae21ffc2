import pytest

from tests.audio.signals import voice
from voicegate.audio import Lost, OpusEncoder, Received, open_codec
from voicegate.audio.render import Renderer


def received(payload: bytes, ticks: int, position: int = 0) -> Received:
    return Received(payload, ticks, position, position, level=30, is_voice=True)


def test_a_packet_becomes_samples_and_its_level_is_kept() -> None:
    renderer = Renderer(open_codec("PCMU"))
    renderer.render(received(b"\x80" * 160, 160))
    cut = renderer.frames.pop()
    assert cut is not None
    assert cut.pcm == open_codec("PCMU").decode(b"\x80" * 160)
    assert (renderer.level, renderer.is_voice) == (30, True)


def test_what_is_lost_is_made_up() -> None:
    renderer = Renderer(open_codec("PCMU"))
    renderer.render(received(b"\x80" * 160, 160))
    renderer.render(Lost(320, 160, 160, following=b"\x80" * 160))
    assert [cut.made_up for cut in iter(renderer.frames.pop, None)] == [0, 160, 160]
    assert renderer.concealed == pytest.approx(0.04)
    assert renderer.fec_recovered == 0


def test_of_a_long_loss_the_copy_makes_good_the_end() -> None:
    encoder = OpusEncoder(bitrate=24_000, inband_fec=True, expected_loss_percent=30)
    sound = voice(0.2)
    packets = [encoder.encode(sound[at : at + 1920]) for at in range(0, len(sound), 1920)]
    renderer = Renderer(open_codec("opus"))
    for index in range(4):
        renderer.render(received(packets[index], 960, index * 960))
    renderer.render(Lost(2880, 0, 3840, following=packets[7]))
    assert [cut.made_up for cut in iter(renderer.frames.pop, None)] == [0] * 4 + [960, 960, 0]
    assert renderer.fec_recovered == 1


def test_another_rate_of_the_codec_is_followed() -> None:
    codec = open_codec("PCMU")
    renderer = Renderer(codec)
    renderer.render(received(b"\x80" * 200, 200))
    codec.use_rate(16000)
    renderer.follow_rate()
    assert renderer.frames.position == 400
    assert renderer.samples(160) == 320
    renderer.render(received(b"\x80" * 160, 160))
    cut = renderer.frames.pop()
    assert cut is not None
    assert len(cut.pcm) == 640


@pytest.mark.parametrize("codec", ["opus", "G722", "PCMA"])
@pytest.mark.parametrize("rate", [8000, 16000, 24000, 48000])
def test_a_frame_is_filled_up_to_the_sample_at_any_rate(codec: str, rate: int) -> None:
    opened = open_codec(codec)
    opened.use_rate(rate)
    renderer = Renderer(opened)
    frame = rate // 50
    assert renderer.fill() == frame
    renderer.frames.push(bytes(2 * (frame // 3)))
    cut = renderer.frames.pop()
    assert cut is not None
    assert cut.made_up == frame
    assert renderer.fill() == frame - frame // 3
    assert renderer.frames.length == frame
