"""Transformers over recorded steps: one that plans (Trajectory Transformer), one that is asked for a distribution.

- `experts.trajectory.layout`: `StepLayout`, where observation, action and reward are in the input of a core.
- `experts.trajectory.discretizer`: `Discretizer`, each number of a step as one of a few bins.
- `experts.trajectory.transformer`: `TokenTransformer`, a causal transformer over these bins, with a key-value cache.
- `experts.trajectory.beam_search`: `plan`, the best action by a beam search through the transformer.
- `experts.trajectory.core`: `TrajectoryTransformer`, the core that acts by it. `experts.trajectory.loss`: its loss.
- `experts.trajectory.generalized`: `GeneralizedDT`, a Decision Transformer that is asked for a distribution of rewards;
  `experts.trajectory.futures`: the histogram or code of the rewards to come, and the distance of histograms.

```python
import torch
from experts.trajectory.core import TrajectoryTransformer
from experts.trajectory.layout import StepLayout

layout = StepLayout(obs=2, choices=(3,))  # observations of 2 numbers, a choice out of 3
core = TrajectoryTransformer(layout.input_size, 8, layout=layout, width=16, layers=1, horizon=2)
x = torch.randn(4, 1, layout.input_size)  # 4 episodes, 1 member
y, state = core(x, core.initial_state(x))
assert y.shape == (4, 1, 8) and y[..., :3].argmax(-1).shape == (4, 1)  # the planned choice
```
"""
