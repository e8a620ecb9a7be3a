"""Properties of episodes: reproducible, independent of each other, restartable, and finite.

Shapes as in `badger.testing.task.cases`.
"""

import itertools
from typing import Any

import torch
from torch import Tensor

from badger.rng import drawing_from, seeded_generator
from badger.testing.contract import by_name, close, expect, line
from badger.testing.task.cases import B, Play, action, actions, episode_done, play, same, seeded
from tasks import Step, Task

SEEDS = 64  # among which a random task has a different episode: two seeds may agree by chance, all of them do not


@line
def the_same_generator_gives_the_same_episode(task: Task) -> None:
    """Episodes depend on the given generator only; torch's default generator is not used."""
    all_actions = actions(task)
    with drawing_from(seeded_generator(0)):
        one = play(task, all_actions)
    with drawing_from(seeded_generator(1)):
        previous = torch.get_rng_state()
        other = play(task, all_actions)
        expect(torch.equal(torch.get_rng_state(), previous), "torch's default generator unused", "a sample of it")
    for (_, a), (_, b) in zip(one, other, strict=True):
        same(a, b)


@line
def other_generators_give_other_episodes(task: Task) -> None:
    """A task that uses its generator has different episodes for some seeds, in states or steps."""
    all_actions, previous, rng = actions(task), seeded().get_state(), seeded()
    task.step(task.reset(B, rng)[0], all_actions[0], rng)
    if torch.equal(rng.get_state(), previous):  # no randomness: all episodes are equal
        return
    first = [_tensors(play(task, all_actions[:steps])) for steps in (1, task.steps)]
    for seed in range(1, SEEDS):
        for steps, want in zip((1, task.steps), first, strict=True):
            got = _tensors(play(task, all_actions[:steps], seed))
            if len(got) != len(want) or not all(map(_equal, got, want)):
                return
    expect(False, f"episodes that depend on the generator, which {type(task).__name__} uses", "equal ones")


def _tensors(episode: Play) -> list[Tensor]:
    return [leaf for state, step in episode for leaf in (*_leaves(state), *_leaves(step))]


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
    """The actions of a row do not change other rows."""
    all_actions = actions(task)
    others = [torch.cat([a[:1], action(task, t + 100)[1:]]) for t, a in enumerate(all_actions)]
    for (_, a), (_, b) in zip(play(task, all_actions), play(task, others), strict=True):
        same(a, b, rows=slice(0, 1))


@line
def a_state_is_a_value(task: Task) -> None:
    """A step does not modify its input state, so that an episode can branch."""
    (state, _), (_, step) = play(task, [action(task)])
    task.step(state, action(task, 2), seeded(1))
    rng = seeded()
    task.reset(B, rng)  # restores the state of the generator
    same(step, task.step(state, action(task), rng)[1])


@line
def open_loop_observations_do_not_depend_on_actions(task: Task) -> None:
    """An `open_loop` task of fixed length has the observations that `preview` returns, for all actions."""
    if not (task.open_loop and task.fixed_length):
        return
    observations = [[step.obs for _, step in play(task, actions(task, seed))[:-1]] for seed in (1, 50)]
    rng = seeded()
    state, step = task.reset(B, rng)
    observations.append(task.preview(state, step, task.steps, rng.clone_state()))
    for one, other, previewed in zip(*observations, strict=True):
        expect(
            torch.equal(one, other), "an observation that does not depend on actions", "another one after other actions"
        )
        expect(torch.equal(one, previewed), "the observation of preview", "another one")


@line
def restart_changes_only_masked_rows(task: Task) -> None:
    """A restart replaces the masked episodes and does not change the others."""
    mask = torch.arange(B) % 2 == 0
    state, _ = play(task, [action(task)])[-1]
    restarted, reset_step = task.restart(state, mask, seeded(5))
    initial, first = task.reset(B, seeded(5))
    same(reset_step, first, mask)
    for t in range(task.steps - 1):  # afterwards each row continues its own episode
        state, old = task.step(state, action(task, t), seeded(t))
        initial, new = task.step(initial, action(task, t), seeded(t))
        restarted, both = task.step(restarted, action(task, t), seeded(t))
        same(both, old, ~mask)
        same(both, new, mask)


@line
def mirrored_episodes_begin_as_half_a_batch(task: Task) -> None:
    """The first half of a batch of `Task.mirrored` is drawn as the episodes of the task; mirroring twice is no more."""
    mirrored = task.mirrored
    expect(mirrored.mirrored == mirrored, "a mirrored task that is its own mirrored one", mirrored.mirrored)
    if mirrored is task:
        return
    for batch in (2 * B, 2 * B - 1):
        (_, half), (_, whole) = task.reset(B, seeded()), mirrored.reset(batch, seeded())
        expect(len(whole.obs) == batch, f"{batch} episodes", len(whole.obs))
        for name, one, both in (("obs", half.obs, whole.obs), ("reward", half.reward, whole.reward)):
            close(both[:B], one, f"the {name} of a batch of half the size", rtol=0, atol=0)


@line
def episodes_end_in_time(task: Task) -> None:
    """Episodes end after exactly `steps` steps with `fixed_length`, otherwise after at most `steps`."""
    ends = torch.stack([episode_done(step) for _, step in play(task, actions(task))])
    if task.fixed_length:
        want = f"episodes that end after exactly steps={task.steps} (fixed_length=True)"
        expect(not ends[:-1].any() and ends[-1].all(), want, ends.int().tolist())
    else:
        want = f"episodes that end after 1 to steps={task.steps} steps"
        expect(not ends[0].any() and ends.any(0).all(), want, ends.int().tolist())


@line
def end_flags_are_repeated_until_the_episode_is_over(task: Task) -> None:
    """The end flag of an agent stays set until the episode is over."""
    for previous, current in itertools.pairwise(_steps(task)):
        running = ~episode_done(previous)
        flags = ((previous.terminated, current.terminated), (previous.truncated, current.truncated))
        for end, next_end in flags:
            expect(next_end[running][end[running]].all(), "an end flag until the episode is over", "one that is reset")


@line
def ended_agents_are_absent_unless_just_truncated(task: Task) -> None:
    """Truncated agents receive the final observation, and no agent acts after its end."""
    for previous, current in itertools.pairwise(_steps(task)):
        if current.present is None or previous.present is None:
            return
        running = ~episode_done(previous).unsqueeze(-1)
        done = previous.terminated | previous.truncated
        ended = current.present & running & (done | current.terminated)
        expect(not ended.any(), "no agent present after its end", current.present)
        observing = (current.present | done | ~previous.present)[current.truncated & running]
        expect(observing.all(), "agents present in the step of their truncation", current.present)


def _steps(task: Task) -> list[Step]:
    return [step for _, step in play(task, actions(task))]


EPISODES = by_name(
    the_same_generator_gives_the_same_episode,
    other_generators_give_other_episodes,
    rows_do_not_leak,
    a_state_is_a_value,
    open_loop_observations_do_not_depend_on_actions,
    restart_changes_only_masked_rows,
    mirrored_episodes_begin_as_half_a_batch,
    episodes_end_in_time,
    end_flags_are_repeated_until_the_episode_is_over,
    ended_agents_are_absent_unless_just_truncated,
)
