"""Properties of rewards: maximal at the target, differentiable where declared, equal for logits and integers.

Shapes as in `badger.testing.task.cases`.
"""

import torch

from badger.testing.contract import by_name, close, equal, expect, line
from badger.testing.task.cases import B, action, actions, actors, numbers, one_hot, play, same, seeded
from tasks import Continuous, Mixed, Step, Task


@line
def the_target_action_has_the_highest_reward(task: Task) -> None:
    """The reward of `Task.target` is above that of a shifted action."""
    state = play(task, actions(task)[:-1])[-1][0] if task.steps > 1 else task.reset(B, seeded())[0]
    target = task.target(state)
    if target is not None:
        equal(tuple(target.shape), (B, *actors(task), task.action_space.size), "a target of shape")
        best, shifted = (task.step(state, a, seeded())[1].reward for a in (target, target + 0.1))
        want = f"rewards of the target {best.tolist()} above those of target + 0.1"
        expect((best > shifted).all(), want, shifted.tolist())


@line
def gradients_flow_from_rewards_to_actions(task: Task) -> None:
    """Rewards of a `differentiable` task have finite gradients for the actions of all scored steps."""
    if not task.differentiable:
        return
    outputs = action if isinstance(task.action_space, Mixed) else numbers  # of a Mixed space to the real numbers alone
    inputs = [outputs(task, t).requires_grad_() for t in range(task.steps)]
    episode = play(task, inputs)
    total = torch.stack([step.reward for _, step in episode]).sum()
    gradients = torch.autograd.grad(total, inputs, allow_unused=True)
    finite = all(gradient.isfinite().all() for gradient in gradients if gradient is not None)
    expect(finite, "finite gradients of the rewards into the actions", gradients)
    has_gradient = torch.stack(
        [torch.zeros(B, dtype=torch.bool) if gradient is None else gradient.any(-1) for gradient in gradients]
    )
    scored = ~torch.stack([step.scores[task.score].isnan() for _, step in episode[1:]])
    if task.fixed_length:  # every row, and every scored step
        complete = has_gradient.any(0).all() and has_gradient[scored].all()
        expect(complete, "a gradient for the action of each scored step", has_gradient)
    expect(has_gradient.any(), "a gradient for an action", has_gradient.tolist())
    for name in episode[0][1].scores:
        detached = not any(step.scores[name].requires_grad for _, step in episode)
        expect(detached, f"a score {name!r} without gradient", "requires_grad=True")


@line
def logits_and_integers_agree(task: Task) -> None:
    """Certain logits of a differentiable discrete task have log-probability 0 where integers have reward 1."""
    if not task.differentiable or isinstance(task.action_space, Continuous | Mixed):
        return
    integers = actions(task)
    logits = [1000 * one_hot(task, a) for a in integers]
    for (_, hard), (_, soft) in zip(play(task, integers), play(task, logits), strict=True):
        _check_agreement(task, hard, soft)


def _check_agreement(task: Task, hard: Step, soft: Step) -> None:
    equal(soft.scores.keys(), hard.scores.keys(), "scores")
    for name, score in hard.scores.items():
        rows = slice(None) if name == task.score else ~score.isnan()  # integers have no cross entropy
        close(score[rows], soft.scores[name][rows], f"the same {name!r}", rtol=1e-7, atol=1e-7, equal_nan=True)
    correct = hard.scores[task.score] == {"higher": 1, "lower": 0}[task.better]
    unscored = hard.scores[task.score].isnan()
    expect((hard.reward[correct] > 0).all(), "a reward above 0 for correct integers", hard.reward[correct].tolist())
    expect(
        (hard.reward[unscored] == 0).all(), "reward 0 for integers that are not scored", hard.reward[unscored].tolist()
    )
    expect((soft.reward <= 0).all(), "log-probabilities as rewards of logits", soft.reward.tolist())
    expect((soft.reward[correct].abs() < 1e-9).all(), "reward 0 for correct logits", soft.reward[correct].tolist())
    wrong = soft.reward[~correct & ~unscored]  # in at least one of several choices
    expect((wrong < -1).all(), "a reward far below 0 for wrong logits", wrong.tolist())
    same(hard._replace(reward=soft.reward, scores={}), soft._replace(scores={}))


REWARDS = by_name(
    the_target_action_has_the_highest_reward,
    gradients_flow_from_rewards_to_actions,
    logits_and_integers_agree,
)
