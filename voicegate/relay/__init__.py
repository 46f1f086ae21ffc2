"""The relay: one public address for all transceivers; forwards by ufrag, decrypts nothing, answers nobody.

Layer: shell (Trio), with a sans-IO core in `voicegate.relay.router` and `voicegate.relay.flows`.
"""

from voicegate.relay.control import RelayConfig, RelayStatistics
from voicegate.relay.supervisor import Relay, run_relay

__all__ = ["Relay", "RelayConfig", "RelayStatistics", "run_relay"]
