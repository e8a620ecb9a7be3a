"""Learning in imagination: a world model is learned from replayed episodes, and the policy in what it imagines.

- `badger.learners.imagination.dreamer`: `Dreamer`, one outer step.
- `badger.learners.imagination.world_models`: `WorldModels`, whose linear controller reads the state of a model.
- `badger.learners.imagination.controller`: how a population of such controllers plays, or imagines that it does.
- `badger.learners.imagination.model_loss`: the loss of a model on replayed sequences.
- `badger.learners.imagination.heads`: what is predicted from the features of a state: reward, end, value.
- `badger.learners.imagination.two_hot`: numbers as distributions over bins.
- `badger.learners.imagination.imagined`: imagined steps, their lambda-returns and weights.
- `badger.learners.imagination.return_scale`: returns in units of their spread.
- `badger.learners.imagination.requirements`: the agents that can be trained so.
"""
