"""Runs: the outer loop, and the folder in which a run is kept.

run.py          `Run`: a learner, its goal and its folder; writes and reads run.json, saves and restores the state
training.py     `train`: outer steps, progress bar, interrupts, divergence
checkpoint.py   checkpoint files, written atomically and verified when read
recorder.py     metrics.jsonl and TensorBoard events; `read_metrics`
milestones.py   how fast a run learned: first crossing of a threshold, averages at given steps

To make or load a run by its recipe: `badger.recipes.build`, which stands above.
"""
