"""Policies: from an agent's output to an action, with log-probabilities and entropies.

- `badger.policies.policies`: `Sampled`, `Greedy`, `EpsilonGreedy`; the identity, for outputs that are the action; the
  log-probability and entropy of discrete actions.
- `badger.policies.gaussian`: the same for continuous actions: a normal distribution, clipped to the action's bounds.
- `badger.policies.mixed`: the product of both, for choices beside real numbers.
- `badger.policies.deterministic`: the most likely actions of a policy that samples, and the reverse.
- `badger.policies.uniform`: `Uniform`, random actions, whatever the output is.
- `badger.policies.correlated`: `CorrelatedGaussian`, whose noise correlates in time.

A policy is called with the output, the action mask, its state and a generator, and returns the action and its next
state, `()` for most. `POLICIES` has the policies by name.

```python
import torch
from badger import Greedy
from tasks import Discrete

policy = Greedy(Discrete(3))
logits, action_mask = torch.tensor([[0.0, 2.0, 1.0]]), torch.tensor([[True, False, True]])
action, _ = policy(logits, action_mask, (), torch.Generator())
assert action.tolist() == [2]
```
"""
