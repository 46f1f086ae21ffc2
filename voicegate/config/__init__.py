"""What an operator can set, from a TOML file, the environment, the command line or Python.

Layer: shell (Trio).
"""

from voicegate.config.address import Address, Network
from voicegate.config.agent import AgentSpec
from voicegate.config.config import Config
from voicegate.config.role import Role
from voicegate.config.set_up import SetUp
from voicegate.steering import Geo, Region

__all__ = ["Address", "AgentSpec", "Config", "Geo", "Network", "Region", "Role", "SetUp"]
