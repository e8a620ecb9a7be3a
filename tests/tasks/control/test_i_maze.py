"""The I-maze against a plain simulation."""

import pytest
import torch
from torch.testing import assert_close

from badger.testing.task.cases import play
from tasks import IMaze
from tasks.control.i_maze import AHEAD, FORWARD, TURN_LEFT, TURN_RIGHT
from toys import seeded

TASK = IMaze(length=(3, 4), dtype=torch.float64)
COLORS = {"#": 0, "g": 1, "y": 2, "R": 3, "B": 4}


class PlainIMaze:
    """One episode, by the rules, on a drawn map: the head of the corridor is on top."""

    def __init__(self, heading, length, cue):
        tile = "g" if cue < 0 else "y"
        rows = ["R.B", *["#.#"] * (length - 1), f"{tile}.{tile}"][::-1]
        self.map = {(x - 1, y): cell for y, row in enumerate(rows) for x, cell in enumerate(row)}
        self.place, self.heading, self.good = (0, 0), heading, "R" if cue < 0 else "B"

    def cell(self, depth, side):
        (fx, fy), (rx, ry) = AHEAD[self.heading], AHEAD[(self.heading + 1) % 4]
        x, y = self.place[0] + depth * fx + side * rx, self.place[1] + depth * fy + side * ry
        return (x, y), self.map.get((x, y), "#")

    def step(self, action):
        """Reward, and whether a goal ends the episode."""
        if action == FORWARD and self.cell(1, 0)[1] in ".RB":
            self.place = self.cell(1, 0)[0]
        self.heading = (self.heading + {FORWARD: 0, TURN_LEFT: -1, TURN_RIGHT: 1}[action]) % 4
        here = self.map[self.place]
        return (1 if here == self.good else -1 if here in "RB" else 0) - 0.04, here in "RB"

    def seen(self):
        view = torch.zeros(2, 3, 5, dtype=torch.float64)
        for depth in (1, 2):
            for side in (-1, 0, 1):
                content = self.cell(depth, side)[1]
                if content != ".":
                    view[depth - 1, side + 1, COLORS[content]] = 1
        return view.flatten()


def test_random_walks_are_as_in_the_plain_maze():
    rng = seeded()
    state, step = TASK.reset(32, rng)
    plain = [PlainIMaze(*one) for one in torch.stack([state.heading, state.length, state.cue], -1).tolist()]
    running, total = torch.ones(32, dtype=torch.bool), torch.zeros(32, dtype=torch.float64)
    assert_close(step.obs, torch.stack([one.seen() for one in plain]))
    for t in range(1, TASK.steps + 1):
        action = torch.tensor([0, 0, 0, 1, 2])[torch.randint(5, (32,), generator=rng)]
        state, step = TASK.step(state, action, rng)
        reward, at_goal = torch.tensor([PlainIMaze.step(*one) for one in zip(plain, action.tolist(), strict=True)]).T
        assert_close(step.reward[running], reward.double()[running])
        assert torch.equal(step.terminated[running], at_goal[running].bool())
        assert torch.equal(step.truncated[running], ~at_goal[running].bool() & (t == TASK.steps))
        total += step.reward
        ended = running & (step.terminated | step.truncated)
        assert_close(step.scores["episodic_return"][ended], total[ended])
        assert torch.equal(step.scores["success"][ended], (step.reward[ended] > 0).double())
        running &= ~ended
        assert_close(step.obs[running], torch.stack([one.seen() for one in plain])[running])


def test_a_policy_that_remembers_the_indicator_reaches_the_optimum():
    rng, task = seeded(), IMaze(length=(3, 5), dtype=torch.float64)
    state, step = task.reset(4096, rng)
    color, total, over = torch.zeros(4096), 0, torch.zeros(4096, dtype=torch.bool)
    for _ in range(task.steps):
        view = step.obs.unflatten(1, (2, 3, 5))
        seen = view[:, 0, 1, 2] - view[:, 0, 1, 1]
        color = torch.where(seen != 0, seen, color)
        toward = torch.where(color < 0, TURN_LEFT, TURN_RIGHT)
        look = (color == 0) | (state.heading == 2)
        action = torch.where(look, TURN_LEFT, torch.where(state.heading == 0, FORWARD, 4 - state.heading - 1))
        action = torch.where(state.heading == 3, TURN_RIGHT, torch.where(state.heading == 1, TURN_LEFT, action))
        action = torch.where(look & (color == 0), TURN_LEFT, action)
        at_head = (state.y == state.length) & (color != 0)
        action = torch.where(at_head, torch.where(state.heading == 0, toward, FORWARD), action)
        state, step = task.step(state, action, rng)
        total = total + torch.where(over, 0, step.reward)
        over |= step.terminated
    assert over.all() and total.mean().item() == pytest.approx(
        task.references()["episodic_return"]["optimum"], abs=0.01
    )


def test_chance_is_that_of_random_walks():
    task = IMaze(length=3, dtype=torch.float64)
    walk = [torch.randint(3, (4000,), generator=seeded(t)) for t in range(task.steps)]
    first, success, total = torch.ones(4000, dtype=torch.bool), 0, 0
    for _, step in play(task, walk)[1:]:
        ends = first & (step.terminated | step.truncated)
        success = success + step.scores["success"][ends].sum().item() / 4000
        total = total + step.scores["episodic_return"][ends].sum().item() / 4000
        first &= ~ends
    chance = {name: values["chance"] for name, values in task.references().items()}
    assert success == pytest.approx(chance["success"], abs=0.03)
    assert total == pytest.approx(chance["episodic_return"], abs=0.03)


def test_no_place_has_both_ends_in_sight():
    state, _ = TASK.reset(1, seeded())
    for length in (3, 4):
        for y in range(length + 1):
            for heading in range(4):
                place = state._replace(
                    y=torch.tensor([y]), heading=torch.tensor([heading]), length=torch.tensor([length])
                )
                planes = TASK._view(place).unflatten(1, (6, 5)).sum(1)[0]
                assert not (planes[1:3].any() and planes[3:].any())


@pytest.mark.parametrize(("length", "error"), [(2, "length=2, want at least 3"), ((9, 5), r"length=\(9, 5\), want a")])
def test_a_corridor_that_makes_no_sense_is_refused(length, error):
    with pytest.raises(ValueError, match=error):
        IMaze(length=length)
