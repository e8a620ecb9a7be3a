"""Deep Q-learning with recurrent networks, from replayed sequences.

drqn.py          `DRQN` (Hausknecht and Stone 2015)
r2d2.py          `R2D2` (Kapturowski et al. 2019)
recurrent_q.py   what both have in common: `RecurrentQ`, one outer step
collector.py     plays episodes without gradient, for the replay
sequences.py     cuts what was played into overlapping sequences
replay.py        the replay buffer, uniform or prioritized, and its sampling
targets.py       n-step, double-Q and rescaled targets, as pure functions
"""
