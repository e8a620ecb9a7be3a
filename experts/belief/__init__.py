"""Beliefs: cores whose state is a distribution over the hidden states of a world.

- `experts.belief.exact`: the exact filter of a known model, alone (`BeliefFilter`) or with a network (`ExactBelief`).
- `experts.belief.model`: the arrays that a model must have.

```python
import torch
from experts.belief import EXAMPLE, BeliefFilter

core = BeliefFilter(3, model=EXAMPLE)  # 2 observations and 1 action, one-hot
x = torch.zeros(1, 1, 3)  # before the first action: no observation, and no last action
belief, state = core(x, core.initial_state(x))
x[..., [1, 2]] = 1  # observation 1, after the action
belief, state = core(x, state)
assert belief.shape == (1, 1, 2) and belief[0, 0, 1] > 0.8
```
"""

from experts.belief.exact import BeliefFilter, BeliefState, ExactBelief, ImpossibleObservation
from experts.belief.model import EXAMPLE, BeliefModel

__all__ = ["EXAMPLE", "BeliefFilter", "BeliefModel", "BeliefState", "ExactBelief", "ImpossibleObservation"]
