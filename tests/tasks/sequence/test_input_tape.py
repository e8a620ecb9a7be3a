"""An input tape against a plain head."""

import itertools
import math

import pytest
import torch
from torch.testing import assert_close

from badger.testing.core.stepping import unchecked
from tasks import InputTape
from toys import seeded

LEFT, STAY, RIGHT = range(3)


class PlainTape:
    """One episode, by the rules."""

    def __init__(self, task, symbols):
        self.task, self.symbols, self.head, self.written, self.t = task, symbols, 0, 0, 0

    def step(self, move, writes, probabilities):
        """What is seen, the reward, and whether all is written."""
        task, left = self.task, self.task.steps - self.t
        due = left <= task.length - self.written
        wrote = self.written < task.length and (due or (writes and not task.timed))
        reward = 0.0
        if wrote:
            order = self.symbols if task.order == "copy" else self.symbols[::-1]
            reward = math.log(probabilities[order[self.written]]) / task.length
        self.written += wrote
        self.head = min(max(self.head + (move if task.forward else move - 1), 0), task.length)
        self.t += 1
        seen = [0] * (task.symbols + 1) + [0] * (2 if task.forward else 3) + [int(wrote), 0]
        seen[task.symbols + 1 + move] = 1
        seen[task.symbols if self.head == task.length else self.symbols[self.head]] = 1
        seen[-1] = int(task.steps - self.t <= task.length - self.written)
        return seen, reward, self.written == task.length


@pytest.mark.parametrize("order", ["copy", "reverse"])
@pytest.mark.parametrize(("forward", "timed"), [(False, False), (True, False), (False, True)])
def test_every_way_is_as_with_a_plain_head(order, forward, timed):
    task, rng = InputTape(2, 3, order, forward, timed, dtype=torch.float64), seeded()
    options = list(itertools.product(range(2 if forward else 3), range(2)))
    every = torch.tensor(list(itertools.product(options, repeat=task.steps)))[::3]  # (B, T, 2)
    state, _ = task.reset(len(every), rng)
    plain = [PlainTape(task, symbols) for symbols in state.symbols.tolist()]
    for choices in every.unbind(1):
        logits = torch.randn(len(every), 3, generator=rng, dtype=torch.float64)
        state, step = task.step(state, torch.cat([choices.double(), logits], -1), rng)
        rows = zip(plain, choices.tolist(), logits.softmax(-1).tolist(), strict=True)
        obs, reward, done = zip(*(tape.step(*both, probabilities) for tape, both, probabilities in rows), strict=True)
        assert step.obs.tolist() == [list(one) for one in obs] and step.terminated.tolist() == list(done)
        assert_close(step.reward, torch.tensor(reward, dtype=torch.float64))
    assert step.terminated.all()


def test_a_head_that_turns_at_the_end_mark_reverses_without_a_memory():
    task, rng = InputTape(4, 5), seeded()
    state, step = task.reset(8, rng)
    total = torch.zeros(8)
    for t in range(task.steps):
        move = torch.full((8, 1), RIGHT if t < 4 else LEFT)
        state, step = task.step(state, torch.cat([move, move * 0, 100 * step.obs[:, :5]], -1), rng)
        total += step.reward
    assert (step.scores["solved"] == 1).all() and total.abs().max() < 1e-6


def test_only_writing_is_allowed_where_no_time_is_left_for_anything_else():
    task, rng = InputTape(2, 3), seeded()
    state, step = task.reset(2, rng)
    for _ in range(3):
        assert step.action_mask.all()
        state, step = task.step(state, torch.zeros(2, 5), rng)
    assert step.action_mask[0].tolist() == [True, True, True, False, True]
    assert InputTape(2, 3, timed=True).reset(1, rng)[1].action_mask[0].tolist() == [True, True, True, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 0}, "length=0, want at least 1"),
        ({"symbols": 0}, "symbols=0, want at least 1"),
        ({"order": "sort"}, "order='sort', want copy or reverse"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        InputTape(**options)
