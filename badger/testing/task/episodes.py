"""Episodes of a task: they follow from their generator, do not touch each other, begin anew where asked, and end.

Shapes as in `badger.testing.task.cases`.
"""

import itertools
from typing import Any

import torch
from torch import Tensor

from badger.rng import drawing_from, seeded_generator
from badger.testing.contract import by_name, expect, line
from badger.testing.task.cases import B, Play, action, actions, over, play, same, seeded
from tasks import Step, Task

SEEDS = 64  # among which a task that is drawn shows another episode: two may agree by chance, so many do not


@line
def the_same_generator_gives_the_same_episode(task: Task) -> None:
    """Whatever state torch's default generator is in, and that is left alone."""
    given = actions(task)
    with drawing_from(seeded_generator(0)):
        one = play(task, given)
    with drawing_from(seeded_generator(1)):
        before = torch.get_rng_state()
        other = play(task, given)
        expect(torch.equal(torch.get_rng_state(), before), "torch's default generator left alone", "a draw from it")
    for (_, a), (_, b) in zip(one, other, strict=True):
        same(a, b)


@line
def other_generators_give_other_episodes(task: Task) -> None:
    """Of a task that draws at all. Stops at the first difference, in the states or in the steps."""
    given, before, rng = actions(task), seeded().get_state(), seeded()
    task.step(task.reset(B, rng)[0], given[0], rng)
    if torch.equal(rng.get_state(), before):  # nothing is drawn: all episodes are equal
        return
    first = [_shown(play(task, given[:steps])) for steps in (1, task.steps)]
    for seed in range(1, SEEDS):
        for steps, want in zip((1, task.steps), first, strict=True):
            got = _shown(play(task, given[:steps], seed))
            if len(got) != len(want) or not all(map(_equal, got, want)):
                return
    expect(False, f"episodes that depend on the generator, which {type(task).__name__} draws from", "equal ones")


def _shown(played: Play) -> list[Tensor]:
    return [leaf for state, step in played for leaf in (*_leaves(state), *_leaves(step))]


def _leaves(value: Any) -> list[Tensor]:
    """Tensors of a step, or of a state that is a value."""
    if isinstance(value, Tensor):
        return [value]
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [leaf for part in parts for leaf in _leaves(part)]


def _equal(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a.nan_to_num(), b.nan_to_num())


@line
def rows_do_not_leak(task: Task) -> None:
    given = actions(task)
    others = [torch.cat([a[:1], action(task, t + 100)[1:]]) for t, a in enumerate(given)]
    for (_, a), (_, b) in zip(play(task, given), play(task, others), strict=True):
        same(a, b, rows=slice(0, 1))


@line
def a_state_is_a_value(task: Task) -> None:
    """A step does not write into the state that it is given; so an episode may branch."""
    (state, _), (_, step) = play(task, [action(task)])
    task.step(state, action(task, 2), seeded(1))
    rng = seeded()
    task.reset(B, rng)  # so that the generator stands where it stood
    same(step, task.step(state, action(task), rng)[1])


@line
def an_open_loop_shows_the_same_whatever_is_done(task: Task) -> None:
    """And only then may an agent read ahead; `preview` tells what will be seen."""
    if not (task.open_loop and task.fixed_length):
        return
    seen = [[step.obs for _, step in play(task, actions(task, seed))[:-1]] for seed in (1, 50)]
    rng = seeded()
    state, step = task.reset(B, rng)
    seen.append(task.preview(state, step, task.steps, rng.clone_state()))
    for one, other, ahead in zip(*seen, strict=True):
        expect(torch.equal(one, other), "an observation that no action changes", "another one after another action")
        expect(torch.equal(one, ahead), "the observation that preview gave", "another one")


@line
def restart_touches_only_its_rows(task: Task) -> None:
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


@line
def episodes_end_in_time(task: Task) -> None:
    ends = torch.stack([over(step) for _, step in play(task, actions(task))])
    if task.fixed_length:
        wanted = f"episodes that end after exactly steps={task.steps} (fixed_length=True)"
        expect(not ends[:-1].any() and ends[-1].all(), wanted, ends.int().tolist())
    else:
        wanted = f"episodes that end after 1 to steps={task.steps} steps"
        expect(not ends[0].any() and ends.any(0).all(), wanted, ends.int().tolist())


@line
def an_end_of_an_agent_is_told_until_the_episode_is_over(task: Task) -> None:
    for before, now in itertools.pairwise(_steps(task)):
        going = ~over(before)
        for end, then in ((before.terminated, now.terminated), (before.truncated, now.truncated)):
            expect(then[going][end[going]].all(), "an end that stays until the episode is over", "one taken back")


@line
def who_has_ended_is_there_no_more_unless_it_was_truncated_just_now(task: Task) -> None:
    """So that the end of an episode is seen by those who were cut short, and nobody acts after its end."""
    for before, now in itertools.pairwise(_steps(task)):
        if now.present is None or before.present is None:
            return
        going = ~over(before).unsqueeze(-1)
        done = before.terminated | before.truncated
        expect(not (now.present & going & (done | now.terminated)).any(), "no agent present after its end", now.present)
        seen = (now.present | done | ~before.present)[now.truncated & going]
        expect(seen.all(), "an agent that was truncated just now present", now.present)


def _steps(task: Task) -> list[Step]:
    return [step for _, step in play(task, actions(task))]


EPISODES = by_name(
    the_same_generator_gives_the_same_episode,
    other_generators_give_other_episodes,
    rows_do_not_leak,
    a_state_is_a_value,
    an_open_loop_shows_the_same_whatever_is_done,
    restart_touches_only_its_rows,
    episodes_end_in_time,
    an_end_of_an_agent_is_told_until_the_episode_is_over,
    who_has_ended_is_there_no_more_unless_it_was_truncated_just_now,
)
