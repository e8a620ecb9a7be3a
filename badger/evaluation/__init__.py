"""Evaluation: scores of an agent whose weights are fixed, and inspection of its states and messages.

- `badger.evaluation.evaluate`: `evaluate`: scores on new episodes, with means and standard errors.
- `badger.evaluation.default_size`: how many episodes there are by default, and when they are truncated.
- `badger.evaluation.batches`: how many episodes are played side by side.
- `badger.evaluation.data_collection`: `record_episodes`: what an agent does, in a file to learn from.
- `badger.evaluation.size_grid`: scores over a grid of sizes, far from those of training.
  `badger.evaluation.heatmaps` draws it, `badger.evaluation.published` has published figures to compare with.
- `badger.evaluation.inspection`: one batch of episodes in numbers and plots, for TensorBoard.
- `badger.evaluation.imagined_episode`: continuations of an episode in imagination.
- `badger.evaluation.played_episode`: one episode, recorded to be watched as an animation.
- `badger.evaluation.trace_similarity`: similarity of memory reads and writes at pairs of steps.
- `badger.evaluation.sensitivity`: which observations the answer of an agent depends on: what any memory remembers.
- `badger.evaluation.divergence`: the memory contents of an agent whose training diverged.

```python
import torch
import badger

learner = badger.build_run("guessing_game", batch=4).learner
scores = badger.evaluate(learner.agent, learner.task, 16, torch.Generator().manual_seed(0), experts=8)
assert scores["final_error"].shape == (16,)
```
"""
