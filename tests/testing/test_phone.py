"""The phone's ways to a whole server: UDP, TCP and TLS."""

import os
import signal
from pathlib import Path

import pytest
import trio

import voicegate
from tests.harness import hear_back, make_client, run_server
from tests.relay.tls import client_context, write_certificate
from voicegate.testing.phone import Way, open_phone
from voicegate.testing.sound import speech_like

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("via", ["udp", "tcp", "tls"])
async def test_what_is_said_comes_back_whichever_way_it_goes(via: Way, tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path)
    with trio.fail_after(60):
        async with run_server(
            agent=voicegate.agents.echo, tls_certificate=certificate, tls_key=key
        ) as server:
            async with open_phone(server.url, make_client(), via=via, tls=client_context()) as phone:
                await phone.wait_connected()
                await hear_back(phone, speech_like(1.0))
                session = server.transceiver.describe(phone.call_id)
                streams = server.relay.statistics().counts["streams"]
            while server.transceiver.call_count:
                await trio.sleep(0.01)
            (ended,) = server.transceiver.describe_all()
    assert session is not None
    assert session["path"]["transport"] == ("udp" if via == "udp" else "tcp")
    assert streams == (0 if via == "udp" else 1)
    assert ended["cause"] == "client_closed", "its goodbye got through"


async def test_a_call_over_tcp_survives_the_relay_worker_that_carried_it() -> None:
    core = make_client(keepalive_interval=0.5)
    with trio.fail_after(60):
        async with (
            run_server(agent=voicegate.agents.echo) as server,
            open_phone(server.url, core, via="tcp") as phone,
        ):
            await phone.wait_connected()
            (worker,) = server.relay.pids
            os.kill(worker, signal.SIGKILL)
            while worker in server.relay.pids:
                await trio.sleep(0.01)
            await hear_back(phone, speech_like(1.0))
            assert server.relay.statistics().counts["streams_refused"] == 0


async def test_a_way_that_the_answer_does_not_name_is_an_error() -> None:
    with trio.fail_after(60):
        async with run_server(tcp=()) as server:
            with pytest.raises(AssertionError, match="no candidate over tcp"):
                async with open_phone(server.url, make_client(), via="tcp"):
                    pass
