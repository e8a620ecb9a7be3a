"""Deep Q-learning with or without memory, from replayed sequences or single steps.

- `badger.learners.q_learning.dqn`: `DQN` (Mnih et al. 2015), with double, dueling and multi-step variants.
- `badger.learners.q_learning.drqn`: `DRQN` (Hausknecht and Stone 2015).
- `badger.learners.q_learning.r2d2`: `R2D2` (Kapturowski et al. 2019).
- `badger.learners.q_learning.recurrent_q`: `RecurrentQ`, their base: one outer step.
- `badger.learners.q_learning.collector`: rolls out episodes without gradient and cuts them into sequences.
- `badger.learners.q_learning.sequences`: overlapping sequences with stored recurrent states.
- `badger.learners.q_learning.replayed`: sequences as recordings, which an agent replays.
- `badger.learners.q_learning.replay`: the replay buffer, with uniform or prioritized sampling.
- `badger.learners.q_learning.targets`: n-step, double-Q and rescaled targets, as pure functions.
"""
