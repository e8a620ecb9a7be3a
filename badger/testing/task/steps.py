"""Properties of steps: shapes, dtypes, finite values, named scores.

Shapes as in `badger.testing.task.cases`.
"""

import math
from dataclasses import replace

import torch

from badger.testing.contract import by_name, equal, expect, line
from badger.testing.task.cases import B, action, actions, actors, episode_done, play, seeded
from tasks import Continuous, Discrete, Mixed, MultiDiscrete, Step, Task, num_options


@line
def reset_step_and_restart_return_declared_shapes(task: Task) -> None:
    """All tensors of a step have the declared shapes and dtypes."""
    for dtype in (torch.float32, torch.float64):
        task = replace(task, dtype=dtype)
        (_, reset_step), (state, step) = play(task, [action(task)])
        _, restarted = task.restart(state, torch.ones(B, dtype=torch.bool), seeded())
        for each_step in (reset_step, step, restarted):
            _check_shapes(task, each_step, dtype)


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
        equal(tuple(step.action_mask.shape), (*rows, num_options(task.action_space)), "action_mask of shape")
    if step.present is not None:
        equal(tuple(step.present.shape), rows, "present of shape")
        expect(task.agents is not None, "present=None for a task of one agent", step.present)
    equal({x.device for x in (step.obs, step.reward, *step.scores.values())}, {seeded().device}, "tensors on")


@line
def an_episode_starts_without_reward_end_or_score(task: Task) -> None:
    """The first step has reward 0, no end flags, and NaN scores."""
    _, reset_step = task.reset(B, seeded())
    expect(not reset_step.reward.any(), "reward 0 at the start", reset_step.reward.tolist())
    expect(not episode_done(reset_step).any(), "no end at the start", episode_done(reset_step).tolist())
    for name, score in reset_step.scores.items():
        expect(score.isnan().all(), f"score {name!r} nan at the start", score.tolist())


@line
def observations_and_rewards_are_finite(task: Task) -> None:
    """Also for absent agents, whose observations are zeros."""
    for _, step in play(task, actions(task)):
        expect(step.obs.isfinite().all(), "finite observations", step.obs.tolist())
        expect(step.reward.isfinite().all(), "finite rewards", step.reward.tolist())
        if step.present is not None:
            expect(not step.obs[~step.present].any(), "zeros as observations of absent agents", step.obs.tolist())


@line
def every_episode_has_its_main_score(task: Task) -> None:
    """`Task.score` is finite in at least one step of each episode, and NaN in the others."""
    expect(task.better in ("lower", "higher"), "better='lower' or 'higher'", task.better)
    steps = [step for _, step in play(task, actions(task))]
    expect(task.score in steps[0].scores, f"a score named task.score={task.score!r}", sorted(steps[0].scores))
    for step in steps:
        equal(step.scores.keys(), steps[0].scores.keys(), "in each step the scores")
    curve = torch.stack([step.scores[task.score] for step in steps])
    want = f"a finite score {task.score!r} in at least one step of each episode, and nan in the others"
    expect(curve.isfinite().any(0).all() and not curve.isinf().any(), want, curve.tolist())


@line
def references_belong_to_scores_and_are_finite(task: Task) -> None:
    """References are finite values of existing scores, including the main one."""
    _, reset_step = task.reset(B, seeded())
    references = task.references()
    expect(
        references.keys() <= reset_step.scores.keys(), f"references of scores {sorted(reset_step.scores)}", references
    )
    expect(bool(references.get(task.score)), f"a reference line of score {task.score!r}", references)
    for name, lines in references.items():
        expect(all(math.isfinite(value) for value in lines.values()), f"finite reference lines of {name!r}", lines)


@line
def the_action_space_has_its_size(task: Task) -> None:
    """`ActionSpace.size` is the number of outputs of an agent."""
    match task.action_space:
        case Continuous(size=size):
            equal(task.action_space.size, size, "action_space.size")
        case Discrete(n=n):
            equal(task.action_space.size, n, "action_space.size")
        case MultiDiscrete(nvec=nvec):
            equal(task.action_space.size, sum(nvec), "action_space.size")
            expect(min(nvec) >= 1, "choices of at least 1", nvec)
        case Mixed(choices=choices, numbers=numbers):
            equal(task.action_space.size, choices.size + numbers.size, "action_space.size")
    expect(task.action_space.size >= 1, "action_space.size of at least 1", task.action_space.size)


STEPS = by_name(
    reset_step_and_restart_return_declared_shapes,
    an_episode_starts_without_reward_end_or_score,
    observations_and_rewards_are_finite,
    every_episode_has_its_main_score,
    references_belong_to_scores_and_are_finite,
    the_action_space_has_its_size,
)
