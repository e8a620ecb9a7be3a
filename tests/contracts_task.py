"""What every task must do, given a factory (**options) -> Task that needs none."""

import itertools
import math
from dataclasses import replace

import torch
from torch.testing import assert_close

from tasks import Continuous, Discrete, MultiDiscrete

B = 4


def check_task(make):
    """All the properties below."""
    for check in CHECKS:
        check(make(dtype=torch.float64))


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbers(task, seed=1, batch=B):
    """What an agent might put out, (batch, A), or (batch, P, A) for several agents of the world."""
    return torch.randn(batch, *actors(task), task.action.size, generator=seeded(seed), dtype=task.dtype)


def actors(task):
    """The axis of the agents of the world, where there are several."""
    return () if task.agents is None else (task.agents,)


def action(task, seed=1):
    """What a policy might give to the task: for a choice integers, which every such task takes."""
    given = numbers(task, seed)
    match task.action:
        case Continuous(low=low, high=high):
            return given.clamp(low, high)
        case Discrete():
            return given.argmax(-1)
        case MultiDiscrete(ns=ns):
            return torch.stack([part.argmax(-1) for part in given.split(ns, -1)], -1)


def play(task, actions, seed=0):
    """The steps of an episode, and the world after each: [(state, step)], the reset first."""
    rng = seeded(seed)
    told = [task.reset(len(actions[0]), rng)]
    for given in actions:
        told.append(task.step(told[-1][0], given, rng))
    return told


def over(step):
    ended = step.terminated | step.truncated
    return ended if ended.dim() == 1 else ended.all(-1)


def same(a, b, rows=slice(None)):
    """Whether two steps tell the same in these rows."""
    assert a.scores.keys() == b.scores.keys()
    parts = [(getattr(a, name), getattr(b, name)) for name in a._fields if name != "scores"]
    parts += [(a.scores[name], b.scores[name]) for name in a.scores]
    for x, y in parts:
        assert (x is None) == (y is None)
        if x is not None:
            assert_close(x[rows], y[rows], rtol=0, atol=0, equal_nan=True)


def reset_step_and_restart_tell_the_right_shapes(task):
    for dtype in (torch.float32, torch.float64):
        task = replace(task, dtype=dtype)
        (_, opened), (state, step) = play(task, [action(task)])
        _, again = task.restart(state, torch.ones(B, dtype=torch.bool), seeded())
        for told in (opened, step, again):
            assert told.obs.shape[0] == B and told.obs.shape[-1] == task.obs_size
            assert told.obs.dtype == told.reward.dtype == dtype
            assert told.terminated.dtype == told.truncated.dtype == torch.bool
            assert told.reward.shape == told.terminated.shape == told.truncated.shape
            assert told.reward.shape == (B, *actors(task))
            assert task.agents is None or told.obs.shape == (B, task.agents, task.obs_size)
            assert all(score.shape == (B,) and score.dtype == dtype for score in told.scores.values())
            assert told.legal is None or told.legal.shape == (B, *actors(task), task.action.size)
            assert told.present is None or told.present.shape == (B, *actors(task)) != (B,)
            assert {x.device for x in (told.obs, told.reward, *told.scores.values())} == {seeded().device}


def an_episode_opens_without_reward_end_or_score(task):
    _, opened = task.reset(B, seeded())
    assert not opened.reward.any() and not over(opened).any()
    assert all(score.isnan().all() for score in opened.scores.values())


def the_same_generator_gives_the_same_episode(task):
    actions = [action(task, t) for t in range(task.steps)]
    told, again, other = play(task, actions), play(task, actions), play(task, actions, seed=1)
    for (_, a), (_, b) in zip(told, again, strict=True):
        same(a, b)
    assert any(not torch.equal(a.obs, b.obs) for (_, a), (_, b) in zip(told, other, strict=True))


def rows_do_not_leak(task):
    actions = [action(task, t) for t in range(task.steps)]
    others = [torch.cat([a[:1], action(task, t + 100)[1:]]) for t, a in enumerate(actions)]
    for (_, a), (_, b) in zip(play(task, actions), play(task, others), strict=True):
        same(a, b, rows=slice(0, 1))


def a_state_is_a_value(task):
    (state, _), (_, step) = play(task, [action(task)])
    task.step(state, action(task, 2), seeded(1))
    rng = seeded()
    task.reset(B, rng)  # so that the generator stands where it stood
    same(step, task.step(state, action(task), rng)[1])


def an_open_loop_shows_the_same_whatever_is_done(task):
    """And only then may an agent read ahead; `preview` tells what will be seen."""
    if not (task.open_loop and task.fixed_length):
        return
    plays = [play(task, [action(task, seed + t) for t in range(task.steps)]) for seed in (1, 50)]
    seen = [[step.obs for _, step in told[:-1]] for told in plays]
    rng = seeded()
    state, step = task.reset(B, rng)
    seen.append(task.preview(state, step, task.steps, rng.clone_state()))
    for one, other, ahead in zip(*seen, strict=True):
        assert torch.equal(one, other) and torch.equal(one, ahead)


def restart_touches_only_its_rows(task):
    mask = torch.arange(B) % 2 == 0
    state, _ = play(task, [action(task)])[-1]
    restarted, opened = task.restart(state, mask, seeded(5))
    fresh, first = task.reset(B, seeded(5))
    same(opened, first, mask)
    for t in range(task.steps - 1):  # from there on, each row goes on as its own episode does
        state, old = task.step(state, action(task, t), seeded(t))
        fresh, new = task.step(fresh, action(task, t), seeded(t))
        restarted, both = task.step(restarted, action(task, t), seeded(t))
        same(both, old, ~mask)
        same(both, new, mask)


def episodes_end_in_time(task):
    ends = torch.stack([over(step) for _, step in play(task, [action(task, t) for t in range(task.steps)])])
    if task.fixed_length:
        assert not ends[:-1].any() and ends[-1].all()
    else:
        assert not ends[0].any() and ends.any(0).all()


def an_end_of_an_agent_is_told_until_the_episode_is_over(task):
    told = [step for _, step in play(task, [action(task, t) for t in range(task.steps)])]
    for before, now in itertools.pairwise(told):
        going = ~over(before)
        for end, then in ((before.terminated, now.terminated), (before.truncated, now.truncated)):
            assert then[going][end[going]].all()


def who_has_ended_is_there_no_more_unless_it_was_truncated_just_now(task):
    """So that the end of an episode is seen by those who were cut short, and nobody acts after its end."""
    told = [step for _, step in play(task, [action(task, t) for t in range(task.steps)])]
    if told[0].present is None:
        return
    for before, now in itertools.pairwise(told):
        going = ~over(before).unsqueeze(-1)
        done = before.terminated | before.truncated
        assert not (now.present & going & (done | now.terminated)).any()
        assert (now.present | done | ~before.present)[now.truncated & going].all()


def what_is_told_are_numbers_for_the_absent_too(task):
    for _, step in play(task, [action(task, t) for t in range(task.steps)]):
        assert step.obs.isfinite().all() and step.reward.isfinite().all()
        if step.present is not None:
            assert not step.obs[~step.present].any()


def scores_are_named_and_due_by_the_end(task):
    assert task.better in ("lower", "higher")
    told = [step for _, step in play(task, [action(task, t) for t in range(task.steps)])]
    assert all(task.score in step.scores for step in told)
    assert all(step.scores.keys() == told[0].scores.keys() for step in told)
    curve = torch.stack([step.scores[task.score] for step in told])
    assert curve.isfinite().any(0).all() and not curve.isinf().any()


def references_belong_to_scores_and_are_finite(task):
    _, opened = task.reset(B, seeded())
    references = task.references()
    assert references.keys() <= opened.scores.keys() and references[task.score]
    assert all(math.isfinite(value) for lines in references.values() for value in lines.values())


def the_action_has_its_size(task):
    match task.action:
        case Continuous(size=size):
            assert task.action.size == size >= 1
        case Discrete(n=n):
            assert task.action.size == n >= 1
        case MultiDiscrete(ns=ns):
            assert task.action.size == sum(ns) >= len(ns) >= 1


def a_target_is_an_action_and_the_best_one(task):
    state, _ = play(task, [action(task, t) for t in range(task.steps - 1)])[-1]
    target = task.target(state)
    if target is not None:
        assert target.shape == (B, *actors(task), task.action.size)
        best, less = (task.step(state, given, seeded())[1].reward for given in (target, target + 0.1))
        assert (best > less).all()


def gradient_flows_from_the_reward_to_every_step_that_it_is_for(task):
    if not task.differentiable:
        return
    given = [numbers(task, t).requires_grad_() for t in range(task.steps)]
    told = play(task, given)
    total = torch.stack([step.reward for _, step in told]).sum()
    slopes = torch.autograd.grad(total, given, allow_unused=True)
    assert all(slope.isfinite().all() for slope in slopes if slope is not None)
    paid = torch.stack([torch.zeros(B, dtype=torch.bool) if slope is None else slope.any(-1) for slope in slopes])
    due = ~torch.stack([step.scores[task.score].isnan() for _, step in told[1:]])
    assert not task.fixed_length or (paid.any(0).all() and paid[due].all())  # every row, and all that is judged
    assert paid.any()
    assert not any(score.requires_grad for _, step in told for score in step.scores.values())


def logits_and_integers_agree(task):
    if not task.differentiable or isinstance(task.action, Continuous):
        return
    chosen = [action(task, t) for t in range(task.steps)]
    sure = [1000 * _one_hot(task, a) for a in chosen]
    best = {"higher": 1, "lower": 0}[task.better]
    for (_, hard), (_, soft) in zip(play(task, chosen), play(task, sure), strict=True):
        assert hard.scores.keys() == soft.scores.keys()
        for name, score in hard.scores.items():
            due = slice(None) if name == task.score else ~score.isnan()  # integers have no cross entropy
            assert_close(score[due], soft.scores[name][due], equal_nan=True)
        right = hard.scores[task.score] == best
        assert (hard.reward[right] > 0).all() and (hard.reward[hard.scores[task.score].isnan()] == 0).all()
        assert (soft.reward <= 0).all() and (soft.reward[right].abs() < 1e-9).all()  # a log-probability of ~0
        wrong = ~right & ~hard.scores[task.score].isnan()  # in one choice at least, where an answer is several
        assert (soft.reward[wrong] < -1).all()
        same(hard._replace(reward=soft.reward, scores={}), soft._replace(scores={}))


def _one_hot(task, chosen):
    ns = task.action.ns if isinstance(task.action, MultiDiscrete) else (task.action.n,)
    columns = chosen.unbind(-1) if isinstance(task.action, MultiDiscrete) else (chosen,)
    hot = [torch.nn.functional.one_hot(column, n) for column, n in zip(columns, ns, strict=True)]
    return torch.cat(hot, -1).to(task.dtype)


CHECKS = (
    reset_step_and_restart_tell_the_right_shapes,
    an_episode_opens_without_reward_end_or_score,
    the_same_generator_gives_the_same_episode,
    rows_do_not_leak,
    a_state_is_a_value,
    an_open_loop_shows_the_same_whatever_is_done,
    restart_touches_only_its_rows,
    episodes_end_in_time,
    an_end_of_an_agent_is_told_until_the_episode_is_over,
    who_has_ended_is_there_no_more_unless_it_was_truncated_just_now,
    what_is_told_are_numbers_for_the_absent_too,
    scores_are_named_and_due_by_the_end,
    references_belong_to_scores_and_are_finite,
    the_action_has_its_size,
    a_target_is_an_action_and_the_best_one,
    gradient_flows_from_the_reward_to_every_step_that_it_is_for,
    logits_and_integers_agree,
)
