"""Policy gradients: learners with a stochastic policy and a critic.

- `badger.learners.policy_gradient.actor_critic`: their base, `ActorCritic`: options, metrics, the masked loss.
- `badger.learners.policy_gradient.a2c`: `A2C`, one gradient step on a rollout.
- `badger.learners.policy_gradient.ppo`: `PPO`, several epochs of minibatches on it.
- `badger.learners.policy_gradient.reinforce`: `REINFORCE`, by reward for the choices of an action, and by gradient for
  the real numbers beside them.
- `badger.learners.policy_gradient.surrogate`: the clipped losses of PPO, as pure functions.

```python
import badger

learner = badger.build_run("t_maze", learner="a2c", length=3, batch=4).learner
assert learner.update()["finite"]
```
"""
