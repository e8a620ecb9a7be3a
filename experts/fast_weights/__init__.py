"""Fast weights: memories that are written by changing the weights of a network within the episode.

- `experts.fast_weights.neural_memory`: `NeuralMemory`, a feed-forward network as a key-value memory, written by a
  metalearned local rule or by a gradient step. `experts.fast_weights.write_rules` has the two rules.
- `experts.fast_weights.plastic`: `Plastic`, a recurrent network with Hebbian traces on its connections, fixed or
  modulated. `experts.fast_weights.hebbian_rules` has Oja's rule and the clamped Hebb rule.
- `experts.fast_weights.low_rank_sum`: a decaying sum of outer products that is multiplied out every few steps only.
- `experts.fast_weights.reversible_write`: reversible backpropagation: the backward pass restores the weights before a
  write instead of storing them.
- `experts.fast_weights.deferred_matmul`: products with one matrix, whose weight gradients are computed in one product.

```python
import torch
from experts.fast_weights.plastic import Plastic

core = Plastic(3, 8, rule="oja")
xs = torch.randn(6, 2, 1, 3)  # 6 steps, 2 episodes, 1 member, 3 inputs
ys, state = core.unroll(xs, core.initial_state(xs[0]))
assert ys.shape == (6, 2, 1, 8)
```
"""
