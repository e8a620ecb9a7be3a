"""Sequence tasks: an input sequence is observed step by step, and some of the steps require an answer.

- `tasks.sequence.base`: the base class, whose subclasses only sample inputs and targets.
- `tasks.sequence.copy`: `Copy` and `DoubleCopy`. `tasks.sequence.repeat_previous`: repeat the symbol of k steps ago.
- `tasks.sequence.associative_recall`, `tasks.sequence.priority_sort`: after Graves et al. 2014.
- `tasks.sequence.dictionary_inference`: infer a dictionary from examples, then translate.
- `tasks.sequence.input_tape`: `InputTape`, copying and reversing from a tape whose head is moved by actions.
- `tasks.sequence.noisy_views`: another sequence task behind noisy, high-dimensional observations.
- `tasks.sequence.nth_farthest`: which of several vectors is the Nth farthest from another one.
- `tasks.sequence.pathfinding`: questions about paths in a graph that grows by a link a step.
- `tasks.sequence.pooled_recall`: experts observe different key-value pairs and are queried about all of them.
- `tasks.sequence.sequential_mnist`: an image is observed a few pixels at a time and classified at the end.

```python
import torch
from tasks.sequence.copy import Copy

task, rng = Copy(), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)
assert step.obs.shape == (3, task.obs_size)
print(task.references())  # scores of chance level and of simple strategies
```
"""
