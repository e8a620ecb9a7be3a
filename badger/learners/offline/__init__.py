"""Learners from recorded episodes: behavior cloning, of all or of the best, Decision and Trajectory Transformers.

- `badger.learners.offline.base`: `Offline`, the base of these learners; open it to add one.
- `badger.learners.offline.behavior_cloning`: `BehaviorCloning`. `badger.learners.offline.percent_bc`: `PercentBC`, of
  the best x % of the episodes.
- `badger.learners.offline.decision_transformer`: `DecisionTransformerLearner`, which trains the core of that name.
- `badger.learners.offline.generalized_dt`: `GeneralizedDTLearner`, of the core of that name.
- `badger.learners.offline.trajectory_transformer`: `TrajectoryTransformerLearner`, likewise.
- `badger.learners.offline.step_layout`: where its core finds observation, last action and reward.
- `badger.learners.offline.windows`: `WindowSampler`, which draws windows of episodes.
- `badger.learners.offline.goals`: `GoalSampler`, which draws those that lead to a state that was visited later.
- `badger.learners.offline.replayed`: recorded episodes as the inputs of an agent.
- `badger.learners.offline.imitation`: the loss of imitated actions.
- `badger.learners.offline.returns_to_go`: the sum of the rewards from each step on.
"""
