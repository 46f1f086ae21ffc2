"""From the offer to audio both ways, on a network that does no harm."""

import pytest

from tests.transceiver.harness import HOME, Harness
from voicegate.testing import sound
from voicegate.transceiver.event import MediaReady, PathAdded, Phase


@pytest.mark.slow
@pytest.mark.parametrize("setup", ["actpass", "passive"])
@pytest.mark.parametrize("codec", ["opus", "PCMU", "PCMA"])
def test_both_sides_hear_each_other(codec: str, setup: str) -> None:
    rate = 48000 if codec == "opus" else 8000
    question, reply = (sound.speech_like(1.0, rate=rate, seed=seed) for seed in (1, 2))
    call = Harness.make(codec=codec, setup=setup)
    call.connect()
    call.client.say(question.pcm)
    call.core.media.downlink.playout.push(reply.pcm)
    call.run(1.5)
    asked = sound.Sound.from_pcm(bytes(call.heard), rate=rate)
    replied = sound.Sound.from_pcm(bytes(call.client.heard), rate=rate)
    assert sound.correlate(question.cut(0.2, 0.7), asked).peak > 0.8
    assert sound.correlate(reply.cut(0.2, 0.7), replied).peak > 0.8
    assert call.drops == {}
    assert not call.strays


@pytest.mark.parametrize("setup", ["actpass", "passive"])
def test_the_milestones_come_in_their_order(setup: str) -> None:
    call = Harness.make(codec="PCMU", setup=setup, client_options={"has_data": True})
    call.connect()
    assert call.client.channels is not None
    call.client.channels.send(next(iter(call.client.channels.channels)), "hello", now=call.now)
    call.run(0.5)
    message = call.take_message()
    assert message is not None
    assert message.data == "hello"
    reached = call.core.phases
    assert set(reached) == set(Phase)
    set_up = list(Phase)[:4]
    assert [reached[phase] for phase in set_up] == sorted(reached[phase] for phase in set_up)
    assert reached[Phase.FIRST_AUDIO_OUT] >= reached[Phase.KEYS_READY]
    assert reached[Phase.FIRST_AUDIO_IN] >= reached[Phase.DTLS_COMPLETED]
    assert reached[Phase.FIRST_MESSAGE_IN] >= reached[Phase.DATA_READY] >= reached[Phase.DTLS_COMPLETED]
    assert call.events[:2] == [PathAdded(HOME), MediaReady()]


def test_a_client_is_connected_within_four_round_trips() -> None:
    call = Harness.make(codec="PCMU")
    call.connect()
    assert call.now - 100.0 < 4 * 0.04 + 0.02


def test_what_the_agent_said_early_is_played_from_its_beginning() -> None:
    greeting = sound.speech_like(0.5, rate=8000)
    call = Harness.make(codec="PCMU")
    call.core.media.downlink.playout.push(greeting.pcm)
    call.connect()
    call.run(1.0)
    heard = sound.Sound.from_pcm(bytes(call.client.heard), rate=8000)
    match = sound.correlate(greeting, heard)
    assert match.peak > 0.9
    assert match.lag == 0.0


def test_who_only_listens_is_sent_audio_and_who_only_speaks_is_sent_none() -> None:
    listener = Harness.make(codec="PCMU", edit_offer=lambda sdp: sdp.replace("a=sendrecv", "a=recvonly"))
    listener.connect()
    listener.run(0.5)
    assert listener.client.heard
    speaker = Harness.make(codec="PCMU", edit_offer=lambda sdp: sdp.replace("a=sendrecv", "a=sendonly"))
    speaker.connect()
    speaker.run(0.5)
    assert speaker.heard
    assert not speaker.client.heard
    assert speaker.core.statistics().audio_packets_out == 0
