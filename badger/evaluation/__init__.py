"""Evaluation: how well an agent does with its weights fixed, and what happens inside it.

evaluate.py           `evaluate`: scores on episodes that training never met; means and standard errors
size_grid.py          `grid`: evaluation at sizes far from those of training; `with_slots`
heatmaps.py           heat maps of such a grid
published.py          published figures that stand beside it, with their sources
inspection.py         `look`: one batch of episodes in numbers and pictures, for TensorBoard
trace_similarity.py   similarity of what a memory reads and writes at pairs of steps
divergence.py         what the memories of a diverged agent hold
"""
