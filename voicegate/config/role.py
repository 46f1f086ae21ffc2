"""Which keys mean something to which kind of server."""

from typing import Final, Literal, TypeAlias, get_args

__all__ = ["KEYS_OF_RELAYS", "KEYS_OF_TRANSCEIVERS", "ROLES", "Role", "is_used"]

Role: TypeAlias = Literal["serve", "relay", "transceiver"]
"""``serve`` is both of the others in one."""

ROLES: Final[tuple[Role, ...]] = get_args(Role)

KEYS_OF_RELAYS: Final = frozenset(
    {"udp", "tcp", "tls_certificate", "tls_key", "advertise", "relay_workers", "relay_flows", "relay_name"}
)
"""Those that say nothing to a transceiver."""

KEYS_OF_TRANSCEIVERS: Final = frozenset(
    {
        "agent",
        "agents",
        "answer_relays",
        "cors_origins",
        "geo",
        "ice_servers",
        "max_call_seconds",
        "max_calls",
        "max_calls_per_client",
        "max_pending_calls",
        "max_pending_calls_per_client",
        "peer",
        "regions",
        "set_up",
        "trusted_proxies",
        "uplink",
        "workers",
    }
)
"""Those that say nothing to a relay."""


def is_used(key: str, role: Role) -> bool:
    """Tell whether a key means something in a role."""
    return not (
        (role == "transceiver" and key in KEYS_OF_RELAYS) or (role == "relay" and key in KEYS_OF_TRANSCEIVERS)
    )
