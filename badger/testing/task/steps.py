"""The steps of a task: shapes, dtypes, finite numbers, named scores.

Shapes as in `badger.testing.task.cases`.
"""

import math
from dataclasses import replace

import torch

from badger.testing.contract import by_name, equal, expect, line
from badger.testing.task.cases import B, action, actions, actors, over, play, seeded
from tasks import Continuous, Discrete, MultiDiscrete, Step, Task


@line
def reset_step_and_restart_tell_the_right_shapes(task: Task) -> None:
    for dtype in (torch.float32, torch.float64):
        task = replace(task, dtype=dtype)
        (_, opened), (state, step) = play(task, [action(task)])
        _, again = task.restart(state, torch.ones(B, dtype=torch.bool), seeded())
        for shown in (opened, step, again):
            _check_shapes(task, shown, dtype)


def _check_shapes(task: Task, step: Step, dtype: torch.dtype) -> None:
    rows = (B, *actors(task))
    obs = tuple(step.obs.shape)
    expect(obs[0] == B and obs[-1] == task.obs_size, f"obs ({B}, ..., obs_size {task.obs_size})", obs)
    expect(task.agents is None or obs == (*rows, task.obs_size), "obs (episodes, agents, obs_size)", obs)
    equal((step.obs.dtype, step.reward.dtype), (dtype, dtype), "obs and reward of")
    equal((step.terminated.dtype, step.truncated.dtype), (torch.bool,) * 2, "terminated and truncated of")
    ends = [tuple(part.shape) for part in (step.reward, step.terminated, step.truncated)]
    equal(ends, [rows] * 3, "reward, terminated and truncated of shape")
    for name, score in step.scores.items():
        equal((tuple(score.shape), score.dtype), ((B,), dtype), f"score {name!r} of")
    if step.action_mask is not None:
        equal(tuple(step.action_mask.shape), (*rows, task.action_space.size), "legal of shape")
    if step.present is not None:
        equal(tuple(step.present.shape), rows, "present of shape")
        expect(task.agents is not None, "present=None for a task of one actor", step.present)
    equal({x.device for x in (step.obs, step.reward, *step.scores.values())}, {seeded().device}, "tensors on")


@line
def an_episode_opens_without_reward_end_or_score(task: Task) -> None:
    _, opened = task.reset(B, seeded())
    expect(not opened.reward.any(), "reward 0 at the start", opened.reward.tolist())
    expect(not over(opened).any(), "no end at the start", over(opened).tolist())
    for name, score in opened.scores.items():
        expect(score.isnan().all(), f"score {name!r} nan at the start", score.tolist())


@line
def what_is_told_are_numbers_for_the_absent_too(task: Task) -> None:
    for _, step in play(task, actions(task)):
        expect(step.obs.isfinite().all(), "finite observations", step.obs.tolist())
        expect(step.reward.isfinite().all(), "finite rewards", step.reward.tolist())
        if step.present is not None:
            expect(not step.obs[~step.present].any(), "zeros as the observation of who is absent", step.obs.tolist())


@line
def scores_are_named_and_due_by_the_end(task: Task) -> None:
    expect(task.better in ("lower", "higher"), "better='lower' or 'higher'", task.better)
    steps = [step for _, step in play(task, actions(task))]
    expect(task.score in steps[0].scores, f"a score named task.score={task.score!r}", sorted(steps[0].scores))
    for step in steps:
        equal(step.scores.keys(), steps[0].scores.keys(), "in each step the scores")
    curve = torch.stack([step.scores[task.score] for step in steps])
    wanted = f"a finite score {task.score!r} in at least one step of each episode, and nan in the others"
    expect(curve.isfinite().any(0).all() and not curve.isinf().any(), wanted, curve.tolist())


@line
def references_belong_to_scores_and_are_finite(task: Task) -> None:
    _, opened = task.reset(B, seeded())
    references = task.references()
    expect(references.keys() <= opened.scores.keys(), f"references of scores {sorted(opened.scores)}", references)
    expect(bool(references.get(task.score)), f"a reference line of score {task.score!r}", references)
    for name, lines in references.items():
        expect(all(math.isfinite(value) for value in lines.values()), f"finite reference lines of {name!r}", lines)


@line
def the_action_has_its_size(task: Task) -> None:
    match task.action_space:
        case Continuous(size=size):
            equal(task.action_space.size, size, "action.size")
        case Discrete(n=n):
            equal(task.action_space.size, n, "action.size")
        case MultiDiscrete(nvec=ns):
            equal(task.action_space.size, sum(ns), "action.size")
            expect(min(ns) >= 1, "choices of at least 1", ns)
    expect(task.action_space.size >= 1, "action.size of at least 1", task.action_space.size)


STEPS = by_name(
    reset_step_and_restart_tell_the_right_shapes,
    an_episode_opens_without_reward_end_or_score,
    what_is_told_are_numbers_for_the_absent_too,
    scores_are_named_and_due_by_the_end,
    references_belong_to_scores_and_are_finite,
    the_action_has_its_size,
)
