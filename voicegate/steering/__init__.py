"""Where in the world a client is, and which relays its answer names.

Layer: core (sans-IO).
"""

from voicegate.steering.forwarded import Forwarded
from voicegate.steering.geo import Geo
from voicegate.steering.place import Place
from voicegate.steering.region import Region
from voicegate.steering.relay import Relay, pick_relays
from voicegate.steering.steering import Steering

__all__ = ["Forwarded", "Geo", "Place", "Region", "Relay", "Steering", "pick_relays"]
