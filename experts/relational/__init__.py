"""Memories whose slots attend to each other.

- `experts.relational.relational_memory`: `RelationalMemory`, the relational memory core of Santoro et al. 2018.
- `experts.relational.working_memory_graph`: `WorkingMemoryGraph`, of Loynd et al. 2020.
- `experts.relational.attention`: attention of rows to rows.

```python
import torch
from experts import RelationalMemory

core = RelationalMemory(3, 8, slots=4, slot_size=6, heads=2)
x = torch.randn(2, 5, 3)  # 2 episodes, 5 experts, 3 inputs
y, state = core(x, core.initial_state(x))
assert y.shape == (2, 5, 8)
```
"""
