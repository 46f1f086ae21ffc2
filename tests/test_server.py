"""A whole server in this process, its relay in another, and clients on real sockets."""

import gc
import os
from collections import Counter
from functools import partial
from math import inf
from pathlib import Path
from random import Random

import httpx2
import pytest
import trio

import voicegate
from tests.harness import hear_back, make_client, run_server
from tests.processes import children, command_of
from voicegate.testing import sound
from voicegate.testing.client import ClientCore, ClientState
from voicegate.testing.phone import Phone, open_phone


async def fetch(url: str) -> httpx2.Response:
    async with httpx2.AsyncClient(trust_env=False, timeout=None) as http:
        return await http.get(url)


async def wait_for_end(server: voicegate.Server, call_id: str) -> dict[str, object]:
    """Wait until a call is over, and return what the server remembers of it."""
    while True:
        described = server.transceiver.describe(call_id)
        assert described is not None
        if described["state"] == "ended":
            return described
        await trio.sleep(0.01)


async def test_the_echo_of_a_voice_comes_back() -> None:
    async def talk(server: voicegate.Server, codec: str, setup: str) -> None:
        async with open_phone(server.url, make_client(codec=codec, setup=setup)) as phone:
            await phone.wait_connected()
            await hear_back(phone, sound.speech_like(1.0, rate=48000 if codec == "opus" else 8000))
        ended = await wait_for_end(server, phone.call_id)
        assert (ended["cause"], ended["codec"]) == ("client_closed", codec)

    with trio.fail_after(240):
        async with run_server(agent=voicegate.agents.echo) as server:
            for codec in ("opus", "PCMU", "PCMA"):
                async with trio.open_nursery() as nursery:
                    for setup in ("actpass", "passive"):
                        nursery.start_soon(talk, server, codec, setup)


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("udp", [["127.0.0.1:0", "[::1]:0"], ["[::1]:0", "127.0.0.1:0"]])
async def test_clients_of_either_family_talk_to_one_server(udp: list[str], workers: int) -> None:
    with trio.fail_after(240):
        async with (
            run_server(agent=voicegate.agents.echo, udp=udp, relay_workers=workers) as server,
            open_phone(server.url, make_client(codec="PCMU")) as phone,
        ):
            listed = [(each.transport, ":" in each.address) for each in phone.core.candidates]
            first = udp[0].startswith("[")
            assert listed == [("udp", first), ("udp", not first), ("tcp", first), ("tcp", not first)]
            await phone.wait_connected()
            await hear_back(phone, sound.speech_like(1.0, rate=8000))


async def test_what_the_agent_said_before_the_client_was_connected_is_heard() -> None:
    greeting = sound.speech_like(1.0)

    async def greet(call: voicegate.Call) -> None:
        call.audio_out.send_nowait(greeting.pcm)
        assert isinstance(await call.events.receive(), voicegate.Connected)
        await call.audio_out.drain()

    with trio.fail_after(240):
        async with run_server(agent=greet) as server, open_phone(server.url, make_client()) as phone:
            ended = await wait_for_end(server, phone.call_id)
            assert ended["cause"] == "agent_finished"
    heard = sound.Sound.from_pcm(bytes(phone.core.heard), rate=48000)
    assert sound.recognise(heard, greeting).peak > 0.8


async def test_an_agent_that_raises_ends_its_own_call_only() -> None:
    async def moody(call: voicegate.Call) -> None:
        if call.metadata.get("mood") == "bad":
            raise RuntimeError("no")
        await trio.sleep_forever()

    with trio.fail_after(240):
        async with run_server(agent=moody) as server, open_phone(server.url, make_client()) as good:
            await good.wait_connected()
            metadata = {"mood": "bad"}
            call_id, answer = server.transceiver.create_call(
                (core := make_client()).offer(), metadata=metadata
            )
            core.handle_answer(answer, now=trio.current_time())
            await reach(server, core)
            ended = await wait_for_end(server, call_id)
            assert (ended["cause"], ended["detail"]) == ("agent_failed", "RuntimeError('no')")
            other = server.transceiver.describe(good.call_id)
            assert other is not None
            assert other["state"] == "connected"


@pytest.mark.parametrize("way_in", ["handle_datagram", "handle_timeout"])
async def test_a_fault_of_our_own_in_one_call_ends_no_other(
    way_in: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    with trio.fail_after(240):
        async with (
            run_server() as server,
            open_phone(server.url, make_client()) as good,
            open_phone(server.url, make_client()) as bad,
        ):
            await good.wait_connected()
            await bad.wait_connected()
            broken = server.transceiver.find(bad.call_id)
            assert broken is not None
            monkeypatch.setattr(broken.core, way_in, fail)
            assert (await wait_for_end(server, bad.call_id))["cause"] == "internal_error"
            before = len(good.core.heard)
            await good.wait_until(lambda: len(good.core.heard) > before)


async def reach(server: voicegate.Server, core: ClientCore) -> None:
    """Send what the client has to say first: its connectivity check."""
    core.handle_timeout(now=trio.current_time())
    with trio.socket.socket(type=trio.socket.SOCK_DGRAM) as sock:
        await sock.connect(tuple(server.udp))
        while (data := core.poll_transmit()) is not None:
            await sock.send(data)


async def test_hanging_up_over_http_ends_the_call_with_that_cause() -> None:
    with trio.fail_after(240):
        async with run_server() as server, open_phone(server.url, make_client()) as phone:
            await phone.wait_connected()
            async with httpx2.AsyncClient(trust_env=False) as http:
                assert (await http.delete(phone.url)).status_code in {200, 204}
                assert (await wait_for_end(server, phone.call_id))["cause"] == "client_hangup"
                assert (await http.post(f"{phone.url}/hangup")).status_code == 404


async def test_stopping_the_server_says_goodbye_to_clients() -> None:
    with trio.fail_after(240):
        async with trio.open_nursery() as nursery:
            async with run_server() as server:
                phone = await nursery.start(keep_phone, server.url, make_client())
                await phone.wait_connected()
            await phone.wait_until(lambda: phone.core.state is ClientState.CLOSED)
            nursery.cancel_scope.cancel()


async def keep_phone(url: str, core: ClientCore, *, task_status: trio.TaskStatus[Phone]) -> None:
    async with open_phone(url, core) as phone:
        task_status.started(phone)
        await trio.sleep_forever()


async def test_every_route_that_an_operator_reads_answers() -> None:
    with trio.fail_after(240):
        async with run_server() as server, open_phone(server.url, make_client()) as phone:
            await phone.wait_connected()
            session = (await fetch(f"{server.url}v1/sessions/{phone.call_id}")).json()
            assert session["state"] == "connected"
            assert session["path"]["client"] == "127.0.0.1"
            assert list(session["phases"])[:3] == ["first_check", "client_hello", "keys_ready"]
            listed = (await fetch(f"{server.url}v1/sessions")).json()
            assert phone.call_id in str(listed)
            assert (await fetch(f"{server.url}healthz")).status_code == 200
            assert (await fetch(f"{server.url}readyz")).status_code == 200
            metrics = (await fetch(f"{server.url}metrics")).text
            assert "voicegate_calls 1.0" in metrics
            assert 'voicegate_relay_events_total{kind="checks_verified"}' in metrics
            assert 'voicegate_relay_packets_total{to="clients"}' in metrics
            assert 'voicegate_relay_drops_total{reason="no_flow"}' in metrics
            assert "voicegate_relay_flows " in metrics
            assert 'voicegate_relay_batch_size_bucket{le="+Inf"}' in metrics
            assert 'voicegate_relay_queueing_seconds_bucket{le="+Inf"}' in metrics
            assert "heartbeats" not in metrics


async def test_garbage_is_collected_when_no_frame_is_due_where_the_process_is_ours() -> None:
    config = voicegate.Config(http="127.0.0.1:0", udp="127.0.0.1:0")
    with trio.fail_after(240):
        for owns_process in (True, False):
            async with trio.open_nursery() as nursery:
                server = await nursery.start(
                    partial(voicegate.serve, None, config, owns_process=owns_process)
                )
                assert gc.isenabled() is not owns_process
                metrics = (await fetch(f"{server.url}metrics")).text
                assert ("voicegate_gc_pause_ms" in metrics) is owns_process
                nursery.cancel_scope.cancel()
            assert gc.isenabled()


async def test_a_client_with_too_many_calls_that_never_came_about_is_refused_with_429() -> None:
    with trio.fail_after(240):
        async with (
            run_server(max_pending_calls_per_client=1) as server,
            httpx2.AsyncClient(base_url=server.url, trust_env=False) as http,
        ):
            headers = {"content-type": "application/sdp"}
            for status in (201, 429):
                response = await http.post(
                    "/v1/realtime/calls", content=make_client().offer(), headers=headers
                )
                assert response.status_code == status
            assert response.json()["error"]["code"] == "too_many_pending_calls"


async def test_an_offer_beyond_the_last_slot_is_refused_with_503() -> None:
    with trio.fail_after(240):
        async with run_server(max_calls=1) as server, open_phone(server.url, make_client()):
            async with httpx2.AsyncClient(trust_env=False) as http:
                response = await http.post(
                    f"{server.url}v1/realtime/calls",
                    content=make_client().offer(),
                    headers={"content-type": "application/sdp"},
                )
            assert response.status_code == 503
            assert response.json()["error"]["code"] == "no_capacity"


async def test_an_offer_that_cannot_be_answered_is_refused_with_its_line() -> None:
    offer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n"
    with trio.fail_after(240):
        async with run_server() as server, httpx2.AsyncClient(trust_env=False) as http:
            response = await http.post(
                f"{server.url}v1/realtime/calls", content=offer, headers={"content-type": "application/sdp"}
            )
            assert response.status_code == 400
            assert response.json()["error"]["type"] == "invalid_request_error"
            assert "m=audio" in response.json()["error"]["message"]


@pytest.mark.slow
async def test_500_calls_killed_at_random_steps_leave_nothing_behind() -> None:
    random = Random(2026)

    async def one_call(server: voicegate.Server, limiter: trio.CapacityLimiter) -> None:
        async with limiter:
            core = make_client(setup=random.choice(["actpass", "passive"]))
            async with open_phone(server.url, core) as phone:
                # Check, ClientHello, certificate flight, audio: each is a datagram or two.
                phone.vanish_after = random.choice([0, 1, 2, 3, 4, 5, 6, 8, 12, 20])
                await phone.wait_until(lambda: phone.sent >= phone.vanish_after)
                if random.random() < 0.3:
                    phone.vanish_after = inf  # it says goodbye, whatever it is in the middle of

    async def many(server: voicegate.Server, count: int) -> None:
        limiter = trio.CapacityLimiter(10)
        async with trio.open_nursery() as nursery:
            for _ in range(count):
                nursery.start_soon(one_call, server, limiter)

    async with run_server(agent=voicegate.agents.echo, max_pending_calls_per_client=512) as server:
        # Half of the calls fill pools, caches and the list of ended calls; the others must add nothing.
        for _ in range(2):
            await many(server, 125)
            await settle(server)
        causes = {described["cause"] for described in server.transceiver.describe_all()}
        assert causes >= {"no_stun_seen", "ice_up_no_client_hello", "dtls_timeout", "consent_expired"}
        assert "client_closed" in causes
        tasks, descriptors = footprint()
        grown = inf
        rounds = 0
        # The heap takes its time to find its shape; a page kept for each call would show in every round.
        while grown >= 250 * 4096:
            rounds += 1
            assert rounds <= 4, "not even a page per call may stay behind"
            resident = resident_bytes()
            for _ in range(2):
                await many(server, 125)
                await settle(server)
            grown = resident_bytes() - resident
        assert server.transceiver.call_count == 0
        assert set(server.transceiver.engine.footprint.values()) == {0}
        with trio.move_on_after(60):  # HTTP connections that were cut end when the kernel says so
            while has_grown(tasks, descriptors):
                await trio.sleep(0.1)
        assert not has_grown(tasks, descriptors)
        with trio.fail_after(60):  # what a worker counts of flows is up to a second old
            while server.relay.statistics().counts["flows"]:
                await trio.sleep(0.1)
        assert server.relay.statistics().counts["flows_opened"] > 100


async def settle(server: voicegate.Server) -> None:
    """Let the watchdogs end what clients abandoned, without waiting for each one's patience."""
    later = trio.current_time() + 31
    for described in server.transceiver.describe_all():
        if (call := server.transceiver.find(str(described["id"]))) is not None:
            # A call that said goodbye this moment keeps its place until its task has had its turn.
            assert call.feed.deadline is not None or call.cause is not None, "every call has a watchdog"
            call.core.handle_timeout(now=later)
            server.transceiver.engine.settle(call, trio.current_time())
    while server.transceiver.call_count:
        await trio.sleep(0.05)


def relay_children() -> list[int]:
    return [pid for pid in children() if "voicegate.relay" in command_of(pid)]


def footprint() -> tuple[int, Counter[str]]:
    """What a leak would show in: Trio's tasks, and what each descriptor of the process is."""
    gc.collect()  # what tests before this one have left lying about
    descriptors = [fd.readlink() if fd.is_symlink() else fd for fd in Path("/proc/self/fd").iterdir()]
    kinds = Counter(str(target).partition(":")[0] for target in descriptors)
    return trio.lowlevel.current_statistics().tasks_living, kinds


def has_grown(tasks: int, descriptors: Counter[str]) -> bool:
    """Tell whether there is more than there was; what was just about to end then is no longer there now."""
    tasks_now, descriptors_now = footprint()
    return tasks_now > tasks or not descriptors_now <= descriptors


def resident_bytes() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def test_a_start_that_is_cancelled_leaves_no_relay_behind() -> None:
    before = relay_children()
    for patience in (0.0, 0.05, 0.2):
        with trio.fail_after(240), trio.move_on_after(patience):
            await voicegate.serve(config=voicegate.Config(http="127.0.0.1:0", udp="127.0.0.1:0"))
    assert set(relay_children()) <= set(before)
