"""The HTTP side as the `openai` package uses it."""

import openai
import pytest
import trio

from tests.signalling.conftest import OFFER, MemoryService


@pytest.fixture
def client(address: tuple[str, int]) -> openai.OpenAI:
    return openai.OpenAI(api_key="vg_any", base_url=f"http://{address[0]}:{address[1]}/v1", max_retries=0)


async def test_it_makes_a_client_secret_and_a_call_and_hangs_up(
    client: openai.OpenAI, service: MemoryService
) -> None:
    def use() -> tuple[str, str]:
        with client:
            secret = client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={"type": "realtime", "model": "gpt-realtime", "instructions": "Be kind."},
            )
            session = secret.session
            assert session.type == "realtime"
            assert (session.model, session.instructions) == ("gpt-realtime", "Be kind.")
            answer = client.realtime.calls.create(sdp=OFFER, session={"type": "realtime", "model": "m"})
            location = answer.response.headers["location"]
            client.realtime.calls.hangup(location.rpartition("/")[2])
            return secret.value, answer.text

    value, answer = await trio.to_thread.run_sync(use)
    assert value.startswith("ek_")
    assert answer == OFFER
    assert service.terms[0]["model"] == "m"
    assert service.calls["rtc_0"]["cause"] == "client_hung_up"


async def test_it_knows_our_refusals_for_what_they_are(client: openai.OpenAI) -> None:
    def use() -> None:
        with client:
            with pytest.raises(openai.BadRequestError) as caught:
                client.realtime.calls.create(sdp="nonsense")
            assert (caught.value.code, caught.value.param) == ("invalid_offer", "sdp")
            with pytest.raises(openai.NotFoundError) as missed:
                client.realtime.calls.reject("rtc_0")
            assert missed.value.code == "sip_call_not_found"

    await trio.to_thread.run_sync(use)
