"""Learning in imagination: a world model is learned from replayed episodes, and the policy in what it imagines.

- `badger.learners.imagination.dreamer`: `Dreamer`, one outer step.
- `badger.learners.imagination.heads`: what is predicted from the features of a state: reward, end, value.
- `badger.learners.imagination.two_hot`: numbers as distributions over bins.
- `badger.learners.imagination.imagined`: imagined steps, their lambda-returns and weights.
- `badger.learners.imagination.return_scale`: returns in units of their spread.
- `badger.learners.imagination.requirements`: the agents that can be trained so.
"""
