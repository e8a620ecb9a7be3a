"""Memories that attend to past inputs: a sliding window, gated and decision transformers, a growing look-up table.

- `experts.attention.window`: `Window`, soft attention over the last `slots` inputs of a controller.
- `experts.attention.mqn`: `MQN`, the cores of memory Q-networks (MQN, RMQN, FRMQN): unscaled attention over the inputs
  before the present one.
- `experts.attention.gtrxl`: `GTrXL`, a gated transformer that keeps the last inputs of each of its layers.
  `experts.attention.gtrxl_layer` has one layer.
- `experts.attention.lookup_table`: `LookupTable`, a table with a row for each step, read as a whole by soft attention.
- `experts.attention.neural_map`: `NeuralMap`, a memory with a cell for each place, written where the agent is;
  `experts.attention.map_shift` moves an ego-centric one.
- `experts.attention.decision_transformer`: `DecisionTransformer`, a causal transformer that is asked for a return.
  `experts.attention.return_to_go` has what it is asked for, `experts.attention.step_tokens` the tokens of its steps and
  which of them see which, `experts.attention.causal_transformer` its layers, with a cache of keys and values, and
  `experts.attention.step_window` the last steps of an episode as a part of a state.
- `experts.attention.sliding_window`: masked attention over a window for whole sequences, which the others share.

```python
import torch
from experts.attention.gtrxl import GTrXL

core = GTrXL(3, 8, layers=2, memory=16)  # 2 layers of width 8, each with its last 16 inputs
xs = torch.randn(6, 2, 1, 3)  # 6 steps, 2 episodes, 1 member, 3 inputs
ys, state = core.unroll(xs, core.initial_state(xs[0]))
assert ys.shape == (6, 2, 1, 8)
```
"""
