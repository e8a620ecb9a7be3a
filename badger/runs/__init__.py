"""Runs: the outer loop of training, and the folder in which a run is saved.

- `badger.runs.run`: `Run`: a learner, its number of outer steps and its folder. Writes and reads `run.json`.
- `badger.runs.training`: `train`: outer steps, progress bar, divergence.
- `badger.runs.signals`: signals that stop a training after it has saved, and exit codes.
- `badger.runs.checkpoint`: checkpoint files, verified when they are read. `badger.runs.files`: atomic writes.
- `badger.runs.recorder`: `metrics.jsonl`; `read_metrics`. `badger.runs.events`: TensorBoard events, with
  the names of `badger.runs.tags`.
- `badger.runs.best`: the figure by which best.pt is chosen. `badger.runs.protocol`: evaluations, also while training.
- `badger.runs.lock`: one writer for each folder.
- `badger.runs.milestones`: learning speed: first crossing of a threshold, moving averages at given steps.
- `badger.runs.evaluations`: `evaluation.json`, the last evaluation of a run.
- `badger.runs.json_files`: reads JSON files with a check of the types of their fields.

A run folder is data: `badger.trust` says what may be opened from a stranger, and what may not.

A run is made from its recipe by `badger.build_run` and loaded by `badger.load_run`, both in `badger.recipes`.

```python
import badger

learner = badger.build_run("guessing_game", batch=4, steps=3).learner
run = badger.Run(learner, outer_steps=2, folder="runs/example")
badger.train(run, quiet=True, tensorboard=False)
assert len(badger.read_metrics("runs/example")) == 2
```
"""
