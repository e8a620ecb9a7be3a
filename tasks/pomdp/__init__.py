"""Partially observed Markov decision processes (POMDPs): models, files in Cassandra's format, and episodes of them.

- `tasks.pomdp.model`: `PomdpModel`, a model as a value: T, O, R, the start and the discount.
- `tasks.pomdp.reader`: `read_pomdp` reads a file, `tasks.pomdp.writer`: `write_pomdp` writes one.
  `tasks.pomdp.tokens`: words of a file, with line and column. `tasks.pomdp.entries`: its entries of T, O and R.
- `tasks.pomdp.library`: `load_model`, a file or a classic that is part of the package (`MODELS`).
- `tasks.pomdp.task`: the task `Pomdp`. `tasks.pomdp.dec_tiger`: `DecTiger`, of two agents.
  `tasks.pomdp.reference_values`: returns of simple policies in it.

```python
import torch
from tasks.pomdp import Pomdp, parse_pomdp

coin = '''
discount: 0.9  states: head tail  actions: guess-head guess-tail  observations: nothing
T: * uniform   O: * uniform
R: guess-head : * : head : * 1
R: guess-tail : * : tail : * 1
'''
task, rng = Pomdp(10, parse_pomdp(coin)), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)  # 3 episodes
state, step = task.step(state, torch.tensor([0, 1, 1]), rng)
```
"""

from tasks.pomdp.dec_tiger import DecTiger, joint_model
from tasks.pomdp.library import MODELS, load_model
from tasks.pomdp.model import PomdpModel
from tasks.pomdp.reader import parse_pomdp, read_pomdp
from tasks.pomdp.task import Pomdp
from tasks.pomdp.tokens import PomdpSyntaxError
from tasks.pomdp.writer import format_pomdp, write_pomdp

__all__ = [
    "MODELS",
    "DecTiger",
    "Pomdp",
    "PomdpModel",
    "PomdpSyntaxError",
    "format_pomdp",
    "joint_model",
    "load_model",
    "parse_pomdp",
    "read_pomdp",
    "write_pomdp",
]
