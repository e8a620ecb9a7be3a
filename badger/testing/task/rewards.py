"""Rewards of a task: the target earns most, gradient flows where it is promised, logits and integers agree.

Shapes as in `badger.testing.task.cases`.
"""

import torch

from badger.testing.contract import by_name, close, equal, expect, line
from badger.testing.task.cases import B, actions, actors, numbers, one_hot, play, same, seeded
from tasks import Continuous, Step, Task


@line
def a_target_is_an_action_and_the_best_one(task: Task) -> None:
    state = play(task, actions(task)[:-1])[-1][0] if task.steps > 1 else task.reset(B, seeded())[0]
    target = task.target(state)
    if target is not None:
        equal(tuple(target.shape), (B, *actors(task), task.action_space.size), "a target of shape")
        best, less = (task.step(state, given, seeded())[1].reward for given in (target, target + 0.1))
        expect((best > less).all(), f"rewards of the target {best.tolist()} above those of target + 0.1", less.tolist())


@line
def gradient_flows_from_the_reward_to_every_step_that_it_is_for(task: Task) -> None:
    if not task.differentiable:
        return
    given = [numbers(task, t).requires_grad_() for t in range(task.steps)]
    played = play(task, given)
    total = torch.stack([step.reward for _, step in played]).sum()
    slopes = torch.autograd.grad(total, given, allow_unused=True)
    finite = all(slope.isfinite().all() for slope in slopes if slope is not None)
    expect(finite, "finite gradients of the rewards into the actions", slopes)
    paid = torch.stack([torch.zeros(B, dtype=torch.bool) if slope is None else slope.any(-1) for slope in slopes])
    due = ~torch.stack([step.scores[task.score].isnan() for _, step in played[1:]])
    if task.fixed_length:  # every row, and all that is judged
        expect(paid.any(0).all() and paid[due].all(), "gradient into the action of each step that is scored", paid)
    expect(paid.any(), "gradient into an action", paid.tolist())
    for name in played[0][1].scores:
        free = not any(step.scores[name].requires_grad for _, step in played)
        expect(free, f"a score {name!r} without gradient", "requires_grad=True")


@line
def logits_and_integers_agree(task: Task) -> None:
    """Of choices with differentiable rewards: logits that are sure earn the log-probability 0 where integers earn 1."""
    if not task.differentiable or isinstance(task.action_space, Continuous):
        return
    chosen = actions(task)
    sure = [1000 * one_hot(task, a) for a in chosen]
    for (_, hard), (_, soft) in zip(play(task, chosen), play(task, sure), strict=True):
        _check_agreement(task, hard, soft)


def _check_agreement(task: Task, hard: Step, soft: Step) -> None:
    equal(soft.scores.keys(), hard.scores.keys(), "scores")
    for name, score in hard.scores.items():
        due = slice(None) if name == task.score else ~score.isnan()  # integers have no cross entropy
        close(score[due], soft.scores[name][due], f"the same {name!r}", rtol=1e-7, atol=1e-7, equal_nan=True)
    right = hard.scores[task.score] == {"higher": 1, "lower": 0}[task.better]
    none = hard.scores[task.score].isnan()
    expect((hard.reward[right] > 0).all(), "a reward above 0 for right integers", hard.reward[right].tolist())
    expect((hard.reward[none] == 0).all(), "reward 0 for integers that are not scored", hard.reward[none].tolist())
    expect((soft.reward <= 0).all(), "log-probabilities as rewards of logits", soft.reward.tolist())
    expect((soft.reward[right].abs() < 1e-9).all(), "reward 0 for logits that are right", soft.reward[right].tolist())
    wrong = soft.reward[~right & ~none]  # in one choice at least, where an answer is several
    expect((wrong < -1).all(), "a reward far below 0 for logits that are wrong", wrong.tolist())
    same(hard._replace(reward=soft.reward, scores={}), soft._replace(scores={}))


REWARDS = by_name(
    a_target_is_an_action_and_the_best_one,
    gradient_flows_from_the_reward_to_every_step_that_it_is_for,
    logits_and_integers_agree,
)
