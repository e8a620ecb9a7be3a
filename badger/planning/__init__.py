"""Solvers of partially observed Markov decision processes with a known model: functions of a `PomdpModel`.

- `badger.planning.alpha_vectors`: `AlphaVectors`, a value function and its policy.
- `badger.planning.bounds`: `qmdp` and `fast_informed_bound` from above, `best_blind` from below; all in milliseconds.
- `badger.planning.hsvi`: `heuristic_search` (HSVI), a lower and an upper bound of any precision.
  `badger.planning.sawtooth`: its upper bound. `badger.planning.backup`: steps of a belief, and backups at one.
- `badger.planning.point_based`: `point_based_value_iteration` (Perseus), a lower bound at a set of beliefs.
- `badger.planning.exact`: `value_iteration` of a finite horizon by incremental pruning. `badger.planning.controllers`:
  `policy_iteration`. `badger.planning.pruning`: the linear programs of both (`pip install 'badger-agents[planning]'`).
- `badger.planning.graphs`: `policy_graph`, which plan follows which. `badger.planning.agents`: `belief_agent`, which
  acts by alpha vectors on its exact belief.
- `badger.planning.tree_mdp`: controllers of tree MDPs whose model is unknown, after random exploration.

```python
from badger.planning import fast_informed_bound, heuristic_search, policy_graph
from tasks.pomdp import load_model

model = load_model("1d")
found = heuristic_search(model, precision=1e-3)
assert found.upper - found.lower <= 1e-3 and found.upper <= fast_informed_bound(model).value(model.start)
graph = policy_graph(model, found.policy)  # a networkx.DiGraph
```
"""

from badger.planning.agents import AlphaVectorHead, belief_agent
from badger.planning.alpha_vectors import AlphaVectors
from badger.planning.backup import Dynamics
from badger.planning.bounds import best_blind, fast_informed_bound, joint_probabilities, qmdp
from badger.planning.controllers import Solution, policy_iteration
from badger.planning.exact import Plans, incremental_pruning, value_iteration
from badger.planning.graphs import policy_graph
from badger.planning.hsvi import Bracket, heuristic_search
from badger.planning.point_based import point_based_value_iteration
from badger.planning.pruning import prune
from badger.planning.sawtooth import SawtoothBound

__all__ = [
    "AlphaVectorHead",
    "AlphaVectors",
    "Bracket",
    "Dynamics",
    "Plans",
    "SawtoothBound",
    "Solution",
    "belief_agent",
    "best_blind",
    "fast_informed_bound",
    "heuristic_search",
    "incremental_pruning",
    "joint_probabilities",
    "point_based_value_iteration",
    "policy_graph",
    "policy_iteration",
    "prune",
    "qmdp",
    "value_iteration",
]
