"""Labyrinths: mazes in which all rooms are reached, and episodes against a plain simulation."""

import pytest
import torch
from torch.testing import assert_close

from tasks import Labyrinth
from tasks.control.labyrinth.random_mazes import random_mazes
from toys import seeded

TASK = Labyrinth(side=3, loops=0.3, dtype=torch.float64)
MOVES = ((-1, 0), (0, 1), (1, 0), (0, -1))


def flooded(walls, start, blocked=()):
    """The cells that are reached from a cell."""
    width, reached, border = int(len(walls) ** 0.5), {start}, [start]
    while border:
        cell = border.pop()
        for row, column in MOVES:
            other = cell + row * width + column
            if not walls[other] and other not in reached and other not in blocked:
                reached.add(other)
                border.append(other)
    return reached


@pytest.mark.parametrize("loops", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("side", [2, 4])
def test_every_room_is_reached_and_no_way_leads_through_a_dead_end(side, loops):
    walls, ends, start = random_mazes(32, side, loops, seeded())
    for maze, pair, first in zip(walls.tolist(), ends.tolist(), start.tolist(), strict=True):
        free = {cell for cell, wall in enumerate(maze) if not wall}
        assert {*pair, first} <= free and len({*pair, first}) == 3
        assert flooded(maze, first) == free
        assert flooded(maze, first, blocked=pair) == free - set(pair)
        assert loops > 0 or len(free) == 2 * side**2 - 1  # a tree


def test_mazes_differ():
    walls = random_mazes(64, 4, 0.0, seeded()).walls
    assert len({tuple(maze) for maze in walls.tolist()}) == 64


def test_random_walks_are_as_in_a_plain_labyrinth():
    rng, width = seeded(), TASK.width
    state, step = TASK.reset(16, rng)
    cells, running = state.start.tolist(), set(range(16))
    for t in range(TASK.steps + 1):
        for b in running:
            row, column = divmod(cells[b], width)
            view = torch.zeros(3, 3, 3, dtype=torch.float64)
            for i in range(3):
                for j in range(3):
                    cell = (row + i - 1) * width + column + j - 1
                    seen = (state.walls[b, cell], cell == state.goals[b, 0], cell == state.goals[b, 1])
                    view[i, j] = torch.tensor([float(part) for part in seen])
            indicator = [float(cells[b] == state.start[b] and state.cue[b] == color) for color in (0, 1)]
            rest = torch.tensor([*indicator, row / (width - 1), column / (width - 1)], dtype=torch.float64)
            assert_close(step.obs[b], torch.cat([view.flatten(), rest]))
        if t == TASK.steps:
            break
        action = torch.randint(4, (16,), generator=rng)
        state, step = TASK.step(state, action, rng)
        for b in sorted(running):
            row, column = MOVES[action[b]]
            target = cells[b] + row * width + column
            cells[b] = cells[b] if state.walls[b, target] else target
            ends = cells[b] in state.goals[b].tolist()
            success = cells[b] == state.goals[b, state.cue[b]]
            assert step.reward[b].item() == pytest.approx((1 if success else -1 if ends else 0) - 0.01)
            assert bool(step.terminated[b]) == ends and bool(step.truncated[b]) == (t + 1 == TASK.steps and not ends)
            if ends or t + 1 == TASK.steps:
                assert step.scores["success"][b] == success
                running.remove(b)
    assert not running


def test_a_depth_first_search_of_a_tree_finds_the_goal_in_time():
    task = Labyrinth(side=3, loops=0.0)
    assert task.steps == 2 * (len([wall for wall in task.reset(1, seeded())[0].walls[0] if not wall]) - 1)


def test_chance_is_that_of_random_walks():
    rng = seeded(3)
    state, _ = TASK.reset(4000, rng)
    first, success = torch.ones(4000, dtype=torch.bool), 0.0
    for _ in range(TASK.steps):
        state, step = TASK.step(state, torch.randint(4, (4000,), generator=rng), rng)
        ended = first & (step.terminated | step.truncated)
        success += step.scores["success"][ended].sum().item() / 4000
        first &= ~ended
    assert success == pytest.approx(TASK.references()["success"]["chance"], abs=0.04)


@pytest.mark.parametrize(
    ("options", "error"), [({"side": 1}, "side=1, want at least 2"), ({"loops": 1.5}, "loops=1.5")]
)
def test_a_labyrinth_that_makes_no_sense_is_refused(options, error):
    with pytest.raises(ValueError, match=error):
        Labyrinth(**options)
