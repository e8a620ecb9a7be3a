"""Sequence tasks: symbols are shown step by step, and answers are due at some of the steps.

- `tasks.sequence.base`: the base class of tasks that show a sequence and score some of the steps.
- `tasks.sequence.copy`: `Copy` and `DoubleCopy`. `tasks.sequence.repeat_previous`: repeat the symbol of k steps ago.
- `tasks.sequence.associative_recall`, `tasks.sequence.priority_sort`: after Graves et al. 2014.
- `tasks.sequence.dictionary_inference`: infer a dictionary from examples, then translate.
- `tasks.sequence.pooled_recall`: experts see different symbols and are asked about all of them.
- `tasks.sequence.sequential_mnist`: an image is read a few pixels at a time and classified at the end.

```python
import torch
from tasks.sequence.copy import Copy

task, rng = Copy(), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)
assert step.obs.shape == (3, task.obs_size)
print(task.references())  # scores of chance, to draw beside those of an agent
```
"""
