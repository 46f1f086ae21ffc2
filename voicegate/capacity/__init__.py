"""How much of everything a number of calls takes: arithmetic, and a simulation that checks its claims.

Layer: core (sans-IO).
"""

from voicegate.capacity.figure import Basis, Figure, Figures
from voicegate.capacity.headroom import Loss, surviving_shares
from voicegate.capacity.plan import (
    ClusterPlan,
    Demand,
    DeployPlan,
    Link,
    Plan,
    RegionPlan,
    StormPlan,
    make_plan,
)
from voicegate.capacity.scenario import Deploy, Outcome, RegionLoss, Scenario, Stall
from voicegate.capacity.simulation import simulate

__all__ = [
    "Basis",
    "ClusterPlan",
    "Demand",
    "Deploy",
    "DeployPlan",
    "Figure",
    "Figures",
    "Link",
    "Loss",
    "Outcome",
    "Plan",
    "RegionLoss",
    "RegionPlan",
    "Scenario",
    "Stall",
    "StormPlan",
    "make_plan",
    "simulate",
    "surviving_shares",
]
