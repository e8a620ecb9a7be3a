"""The T-maze against a plain simulation."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from badger import TMaze
from badger.testing.task.cases import play
from toys import seeded

RIGHT, UP, LEFT, DOWN = range(4)
TASKS = {
    "ni": TMaze(3, dtype=torch.float64),
    "short": TMaze(1, dtype=torch.float64),
    "bakker": TMaze(2, 0.0, dtype=torch.float64),
}
tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)


class PlainTMaze:
    """One episode, by the rules. cue: 1 or -1."""

    def __init__(self, length, penalty, cue):
        self.length, self.penalty, self.cue = length, penalty, cue
        self.place, self.t = (0, 0), 0
        self.free = {(x, 0) for x in range(length + 1)} | {(length, 1), (length, -1)}

    def step(self, action):
        """obs, reward, whether it is over, whether it was a success."""
        x, y = self.place
        there = {RIGHT: (x + 1, y), UP: (x, y + 1), LEFT: (x - 1, y), DOWN: (x, y - 1)}[action]
        if there in self.free:
            self.place = there
        self.t += 1
        over = self.t == self.length + 1
        if over:
            reward = 1.0 if self.place == (self.length, self.cue) else 0.0
        else:
            reward = -self.penalty if self.place[0] < self.t else 0.0
        return self.seen(), reward, over, over and reward == 1

    def seen(self):
        x, y = self.place
        if x == self.length:
            return [1, y]
        return [0, self.cue if self.t == 0 else 0]


@tasks
def test_every_walk_is_as_in_the_plain_maze(task):
    """All walks of the short mazes, each with both cues."""
    every = torch.tensor(list(itertools.product(range(4), repeat=task.steps))).T  # (T, B)
    rng = seeded()
    state, reset_step = task.reset(every.shape[1], rng)
    penalty = 1 / task.length if task.penalty is None else task.penalty
    plain = [PlainTMaze(task.length, penalty, cue) for cue in state.cue.tolist()]
    assert reset_step.obs.tolist() == [one.seen() for one in plain]
    for action in every:
        state, step = task.step(state, action, rng)
        obs, reward, over, success = zip(*map(PlainTMaze.step, plain, action.tolist()), strict=True)
        assert step.obs.tolist() == [list(one) for one in obs]
        assert_close(step.reward, torch.tensor(reward, dtype=torch.float64), rtol=0, atol=1e-15)
        assert step.terminated.tolist() == list(over) and not step.truncated.any()
        results = [float(s) if o else float("nan") for s, o in zip(success, over, strict=True)]
        assert_close(step.scores["success"], torch.tensor(results, dtype=torch.float64), equal_nan=True)


@tasks
def test_a_policy_that_remembers_the_cue_has_return_one(task):
    rng = seeded()
    state, step = task.reset(64, rng)
    turn, total = torch.where(step.obs[:, 1] > 0, UP, DOWN), 0
    for _ in range(task.steps):
        action = torch.where(step.obs[:, 0] > 0, turn, RIGHT)
        state, step = task.step(state, action, rng)
        total = total + step.reward
    assert (total == task.references()["success"]["optimum"]).all() and (step.scores["success"] == 1).all()


def test_a_policy_that_ignores_the_cue_is_correct_in_half_of_the_episodes():
    task = TMaze(2, dtype=torch.float64)
    walk = [torch.full((4000,), action) for action in (RIGHT, RIGHT, UP)]
    success = play(task, walk)[-1][1].scores["success"].mean().item()
    assert success == pytest.approx(task.references()["success"]["memoryless"], abs=0.03)


def test_the_chance_of_random_moves_is_counted_over_all_walks():
    task = TMaze(2, dtype=torch.float64)
    every = torch.tensor(list(itertools.product(range(4), repeat=3))).T
    state, _ = task.reset(64, seeded())
    state = state._replace(cue=torch.ones_like(state.cue))
    for action in every:
        state, step = task.step(state, action, seeded())
    assert step.scores["success"].mean().item() == task.references()["success"]["chance"] == 1 / 64


def test_who_never_moves_pays_a_penalty_in_each_step_but_the_last():
    task = TMaze(4, dtype=torch.float64)
    total = sum(step.reward for _, step in play(task, [torch.full((3,), LEFT)] * 5))
    assert_close(total, torch.full((3,), -1.0, dtype=torch.float64))


def test_the_words_tell_the_cue_and_where_to_turn():
    task = TMaze(3)
    state, step = task.reset(8, seeded())
    said = [task.step_labels(state, row) for row in range(8)]
    assert {tuple(words) for words in said} == {("up", "-", "-", "turn"), ("down", "-", "-", "turn")}
    assert [words[0] == "up" for words in said] == (step.obs[:, 1] == 1).tolist()


def test_paths_avoid_walls_and_mark_reached_goals():
    task = TMaze(2)
    every = torch.tensor(list(itertools.product(range(4), repeat=3))).T
    results = play(task, list(every))
    path = task.path(results[0][0], every)
    assert not path.walls[path.positions[..., 0], path.positions[..., 1]].any()
    assert not path.walls[path.goals[:, 0], path.goals[:, 1]].any()
    assert torch.equal(path.reached.any(0), results[-1][1].scores["success"] == 1)
    assert path.walls.sum() == 5 * 5 - 3 - 2


@pytest.mark.parametrize(
    ("options", "error"), [({"length": 0}, "length=0, want at least 1"), ({"penalty": -1.0}, "penalty=-1.0, want")]
)
def test_a_maze_that_makes_no_sense_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        TMaze(**options)


def test_logits_are_refused():
    task = TMaze()
    with pytest.raises(ValueError, match="TMaze give no gradient to logits"):
        task.step(task.reset(2, seeded())[0], torch.randn(2, 4), seeded())
