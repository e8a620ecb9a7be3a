"""Variational models: beliefs that are trained by a bound of the likelihood of what is observed.

- `experts.belief.variational.dvbf`: `DVBF`, a deep variational Bayes filter: one latent state, moved by locally linear
  transitions.
- `experts.belief.variational.dvrl`: `VariationalModel`, a model of particles, and `dvrl`, a particle filter of it.
- `experts.belief.variational.merlin`: `MERLIN`, a predictor with a memory of its latents, which a policy reads.
  `experts.belief.variational.event_memory`: the memory, whose rows also tell what followed.
- `experts.belief.variational.gaussian`: normal distributions of networks, their densities and divergences.

```python
import torch
from experts.belief.variational.dvbf import DVBF

core = DVBF(3, 8, latent_size=4, predicted=2)  # 2 observed numbers, and the last action
x = torch.randn(2, 1, 3)  # 2 episodes, 1 member
y, state = core(x, core.initial_state(x))
assert core.losses(state)["negative_elbo"].shape == (2,) and state.z.shape == (2, 1, 4)
```
"""
