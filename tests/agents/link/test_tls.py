"""The link over TLS, where certificates say who is who."""

import ssl
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.agents.process import naughty
from tests.harness import hear_back, make_client, run_server
from tests.relay.tls import write_certificate
from voicegate.agents.link import LinkOptions, run_link_agent, serve_agent
from voicegate.testing import sound
from voicegate.testing.phone import open_phone

pytestmark = pytest.mark.slow


def agent_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """Speak TLS, and only with who has the certificate that is trusted."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(certificate))
    context.load_cert_chain(certificate, key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


async def test_a_gateway_with_its_certificate_has_calls_answered(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    options = LinkOptions(
        ca_file=str(certificate), certificate_file=str(certificate), private_key_file=str(key)
    )
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            context = agent_context(certificate, key)
            port = await nursery.start(partial(serve_agent, naughty.echo, "127.0.0.1", 0, ssl=context))
            linked = await nursery.start(run_link_agent, f"wss://127.0.0.1:{port}/", options)
            async with run_server(agent=linked) as server, open_phone(server.url, make_client()) as phone:
                await phone.wait_connected()
                await hear_back(phone, sound.speech_like(1.0))
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("has_authority", [False, True], ids=["agent not trusted", "gateway without a name"])
async def test_who_cannot_say_who_it_is_answers_no_call(has_authority: bool, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    options = LinkOptions(ca_file=str(certificate) if has_authority else None, patience_seconds=0.5)
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            context = agent_context(certificate, key)
            port = await nursery.start(partial(serve_agent, naughty.echo, "127.0.0.1", 0, ssl=context))
            linked = await nursery.start(run_link_agent, f"wss://127.0.0.1:{port}/", options)
            async with run_server(agent=linked) as server, open_phone(server.url, make_client()) as phone:
                with trio.move_on_after(10):
                    await phone.wait_until(
                        lambda: any(
                            each["cause"] == "agent_failed" for each in server.transceiver.describe_all()
                        )
                    )
                [described] = server.transceiver.describe_all()
                assert described["cause"] == "agent_failed"
                assert "AgentLinkError" in str(described["detail"])
            nursery.cancel_scope.cancel()
