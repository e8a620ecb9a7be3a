"""Output heads: from the outputs of all experts to one action of the agent.

- `badger.act.base`: the base class `Act`; `Mean`, a linear map of the mean over experts; `Team`, one for each agent of
  an environment of several agents.
- `badger.act.dueling`: `Dueling`, state value and advantages of actions, for Q-learning.
- `badger.act.owners`: heads in which each expert makes one number of the action: in a fixed order, assigned at random
  in each episode, or with an observed name of the output.
- `badger.act.readout`: `Readout`, in which each output attends to the experts.
- `badger.act.wrappers`: `WithCritic` adds a critic to any head, `Gaussian` adds log standard deviations.

Senses and acts share names such as `Team`, so both are used with their module: `sense.Team(...)`, `act.Team(...)`.

Shapes: B episode, E expert, P agent of the environment, Y output of an expert, D numbers of an action (the dimensions
of a guess, the logits of a choice). An *assignment* of outputs to experts is sampled for each episode. It is part of
the agent's state, and its shape gives the number of outputs. Absent experts are masked out; an output without any
expert is 0.

`ACTS` has the heads by name.

```python
import torch
from badger import act

head = act.WithCritic(act.Mean(8, 2))  # two logits and a value
y = torch.randn(3, 5, 8)  # 3 episodes, 5 experts, 8 outputs of each
assert head(y, None, None).shape == (3, 3)
```
"""

from badger.act.base import Act, Mean, Team
from badger.act.dueling import Dueling
from badger.act.owners import NamedOutputs, OwnedOutputs, RandomOwners, RoundRobin
from badger.act.readout import Readout
from badger.act.wrappers import Gaussian, WithCritic

ACTS: dict[str, type[Act]] = {
    "mean": Mean,
    "dueling": Dueling,
    "round_robin": RoundRobin,
    "random_owners": RandomOwners,
    "named_outputs": NamedOutputs,
    "readout": Readout,
    "team": Team,
}
"""Output heads by name, each a factory `(input_size, outputs, *, options) -> Act`.

`Team`, for environments of several agents, also takes `agents`.
"""

__all__ = [
    "ACTS",
    "Act",
    "Dueling",
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
