"""A client's checks, as many as a test wants, and the agent they go to."""

from collections.abc import Iterable
from typing import Final

from voicegate.ice import Credentials, Event, IceLiteAgent, Keyring, Message, Route
from voicegate.ice.stun import binding_request
from voicegate.wire import Path, Transmit
from voicegate.wire.path import address_bytes

KEYRING: Final = Keyring([b"the secret of this cluster"])
REMOTE_UFRAG: Final = "yU+6"
REMOTE_PWD: Final = "ZdRM61W4uJO2ZGJAvscVPX8B"
RELAY: Final = ("127.0.0.1", 7000)


def local_credentials(generation: int = 0) -> Credentials:
    return KEYRING.mint(Route(transceiver_id=1, session_id=b"session1", generation=generation))


def remote_ufrag(generation: int = 0) -> str:
    return f"{REMOTE_UFRAG}{generation}" if generation else REMOTE_UFRAG


def new_agent(now: float = 0.0, *, is_sped: bool = False) -> IceLiteAgent:
    return IceLiteAgent(
        local=local_credentials(),
        remote_ufrag=REMOTE_UFRAG,
        remote_pwd=REMOTE_PWD,
        now=now,
        is_sped=is_sped,
    )


def restart(agent: IceLiteAgent, generation: int, *, now: float) -> None:
    agent.restart(
        local=local_credentials(generation),
        remote_ufrag=remote_ufrag(generation),
        remote_pwd=REMOTE_PWD,
        now=now,
    )


def path(number: int, *, relay: tuple[str, int] = RELAY) -> Path:
    return Path(relay=relay, host=address_bytes(f"198.51.100.{number}"), port=50000 + number)


def check(
    *,
    number: int = 1,
    generation: int = 0,
    nominates: bool = False,
    key: str | None = None,
    local_ufrag: str | None = None,
    peer_ufrag: str | None = None,
    controlled: bool = False,
    extra: Iterable[tuple[int, bytes]] = (),
) -> bytes:
    local = local_credentials(generation)
    mine = local.ufrag if local_ufrag is None else local_ufrag
    theirs = remote_ufrag(generation) if peer_ufrag is None else peer_ufrag
    return binding_request(
        transaction_id=number.to_bytes(12, "big"),
        username=f"{mine}:{theirs}",
        key=(local.pwd if key is None else key).encode(),
        priority=0x6E7E1EFF,
        ice_controlling=None if controlled else 5,
        ice_controlled=5 if controlled else None,
        has_use_candidate=nominates,
        extra=extra,
    )


def answer(agent: IceLiteAgent) -> Message:
    """Return the one answer that waits to be sent."""
    transmit = agent.poll_transmit()
    assert transmit is not None
    assert agent.poll_transmit() is None
    return Message.decode(transmit.data)


def transmits(agent: IceLiteAgent) -> list[Transmit]:
    return list(iter(agent.poll_transmit, None))


def events(agent: IceLiteAgent) -> list[Event]:
    return list(iter(agent.poll_event, None))
