"""Ports through which experts act: from what the experts put out to one action of the agent.

Sensing and acting are two modules, for both have an `Each`: `sense.Each(...)`, `act.Each(...)`.

Shapes: B episode, E expert, P agent of the world, Y output of an expert, D numbers of an action (the dimensions of a
guess, the logits of a choice). An *address* is what a port draws anew for each episode; it is part of the agent's
state, and its shape tells the number of outputs. Experts that are not present have no say; an output that nobody is
left to make is 0.
"""

from badger.act.base import Act, Mean, Team
from badger.act.owners import NamedOutputs, OwnedOutputs, RandomOwners, RoundRobin
from badger.act.readout import Readout
from badger.act.wrappers import Gaussian, WithCritic

ACTS: dict[str, type[Act]] = {
    "mean": Mean,
    "round_robin": RoundRobin,
    "random_owners": RandomOwners,
    "named_outputs": NamedOutputs,
    "readout": Readout,
    "team": Team,
}
"""Acts by name, each a factory `(input_size, outputs, *, options) -> Act`. Environments of several agents take a `Team`,
which is also given `agents`."""

__all__ = [
    "ACTS",
    "Act",
    "Gaussian",
    "Mean",
    "NamedOutputs",
    "OwnedOutputs",
    "RandomOwners",
    "Readout",
    "RoundRobin",
    "Team",
    "WithCritic",
]
