"""The maze against a plain simulation; its references against a search; its figures."""

import itertools

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import Maze, RepeatPrevious, inspect_agent
from badger.figures.grid_paths import MAX_PANELS, plot_paths, step_segments
from badger.testing.task.cases import play
from tasks.control.mazes.maze_tables import build_maze_tables, distances
from toys import png, seeded, toy_agent

CPU = torch.device("cpu")
SETTINGS = {
    "plasticity": Maze.plasticity(dtype=torch.float64),
    "backpropamine": Maze.backpropamine(dtype=torch.float64),
    "small": Maze(30, 5, dtype=torch.float64),
    "large": Maze(60, 13, dtype=torch.float64),
}
settings = pytest.mark.parametrize("task", SETTINGS.values(), ids=SETTINGS)


def walks(task, batch=6, seed=1):
    """Random actions, (T, B)."""
    return torch.randint(4, (task.steps, batch), generator=seeded(seed))


class PlainMaze:
    """One episode, in rows and columns. landings: where to put who reaches the goal, by step."""

    def __init__(self, task, goal, landings):
        n = task.size
        self.task, self.goal, self.landings, self.t, self.total = task, goal, landings, 0, 0.0
        self.place = (n // 2, n // 2)
        self.wall = {
            (y, x): x in (0, n - 1) or y in (0, n - 1) or (x % 2 == 0 and y % 2 == 0 and (y, x) != self.place)
            for y, x in itertools.product(range(n), repeat=2)
        }

    def step(self, action):
        """obs, reward, whether the goal was reached, whether a wall was in the way."""
        y, x = self.place
        there = {0: (y - 1, x), 1: (y, x + 1), 2: (y + 1, x), 3: (y, x - 1)}[action]
        reached, bumped, reward = there == self.goal, self.wall[there], 0.0
        if bumped:
            reward = -0.1
        elif reached:
            reward = 10.0
            self.place = self.landings[self.t]
        else:
            self.place = there
        self.t += 1
        self.total += reward
        return self.seen(action, reward), reward, reached, bumped

    def seen(self, action=None, reward=0.0):
        y, x = self.place
        around = [self.wall[y + dy, x + dx] for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        results = [float(self.task.observe_action and action == a) for a in range(4)]
        time = self.t / self.task.steps if self.task.relative_time else self.t
        return np.array([*around, *results, 0, reward, time, 1], dtype=float)


def plain(task, state):
    """The same episodes, one by one."""
    places = [tuple(place) for place in build_maze_tables(task.size, CPU).positions.tolist()]
    return [
        PlainMaze(task, places[goal], [places[cell] for cell in landings])
        for goal, landings in zip(state.goal.tolist(), state.respawn_cells.tolist(), strict=True)
    ]


@settings
def test_the_batched_maze_equals_a_plain_simulation(task):
    actions = walks(task)
    results = play(task, list(actions))
    mazes = plain(task, results[0][0])
    places = build_maze_tables(task.size, CPU).positions
    assert_close(results[0][1].obs, torch.tensor(np.stack([maze.seen() for maze in mazes])))
    for (state, step), given in zip(results[1:], actions.tolist(), strict=True):
        obs, reward, reached, bumped = zip(*(m.step(a) for m, a in zip(mazes, given, strict=True)), strict=True)
        assert_close(step.obs, torch.tensor(np.stack(obs)))
        assert_close(step.reward, torch.tensor(reward, dtype=torch.float64))
        assert step.scores["goal_reached"].tolist() == list(reached) and step.scores["wall_collision"].tolist() == list(
            bumped
        )
        assert [tuple(place) for place in places[state.cell].tolist()] == [maze.place for maze in mazes]
    assert_close(step.scores["episodic_return"], torch.tensor([maze.total for maze in mazes], dtype=torch.float64))
    assert torch.stack(
        [step.scores["goal_reached"] for _, step in results[1:]]
    ).any()  # the walks were long enough to tell


def test_the_maze_of_the_papers_has_41_free_cells():
    walls = build_maze_tables(9, CPU).walls.int().tolist()
    assert ["".join(".#"[cell] for cell in row) for row in walls] == [
        "#########",
        "#.......#",
        "#.#.#.#.#",
        "#.......#",
        "#.#...#.#",
        "#.......#",
        "#.#.#.#.#",
        "#.......#",
        "#########",
    ]


def test_the_published_settings_differ_in_steps_action_and_time():
    _, first = Maze.plasticity().step(Maze.plasticity().reset(2, seeded())[0], torch.tensor([0, 3]), seeded())
    task = Maze.backpropamine()
    _, second = task.step(task.reset(2, seeded())[0], torch.tensor([0, 3]), seeded())
    assert first.obs[:, 9:].tolist() == [[0] * 6 + [1, 1]] * 2
    time = torch.tensor(1 / 200).item()
    assert second.obs[:, 9:].tolist() == [[1, 0, 0, 0, 0, 0, time, 1], [0, 0, 0, 1, 0, 0, time, 1]]
    assert (Maze.plasticity().steps, task.steps) == (250, 200)
    assert Maze.plasticity() == Maze() and Maze.plasticity(dtype=torch.float64).dtype == torch.float64


def test_goals_and_landings_are_all_free_cells_alike_but_for_the_one_that_is_left_out():
    task, cells, centre = Maze(40), 41, build_maze_tables(9, CPU).center
    state, _ = task.reset(8_000, seeded())
    often = state.goal.bincount(minlength=cells)
    assert often[centre] == 0
    others = torch.arange(cells) != centre
    assert_close(often[others] / 8_000, torch.full((cells - 1,), 1 / (cells - 1)), rtol=0, atol=0.01)
    assert not (state.respawn_cells == state.goal.unsqueeze(1)).any()
    lands = state.respawn_cells[state.goal == 0].flatten().bincount(minlength=cells).double()
    assert_close(lands[1:] / lands.sum(), torch.full((cells - 1,), 1 / (cells - 1)).double(), rtol=0, atol=0.006)


@settings
def test_no_observation_is_at_the_goal(task):
    assert not any((state.cell == state.goal).any() for state, _ in play(task, list(walks(task, batch=50))))


def test_the_goal_stays_where_it_is_for_the_whole_episode():
    results = play(Maze(), list(walks(Maze())))
    assert all(torch.equal(state.goal, results[0][0].goal) for state, _ in results)


def test_what_happens_follows_from_the_start_and_the_actions():
    """All chance is drawn by reset: other generators later on change nothing."""
    task = Maze(50)
    (state, _), actions = task.reset(6, seeded()), walks(task)
    one, other = state, state
    for t, given in enumerate(actions):
        (one, a), (other, b) = task.step(one, given, seeded(t)), task.step(other, given, seeded(-t))
        assert torch.equal(a.obs, b.obs)


def test_an_episode_terminates_at_its_last_step_and_is_never_truncated():
    results = [step for _, step in play(Maze(3), list(walks(Maze(3))))]
    assert [step.terminated.all().item() for step in results] == [step.terminated.any().item() for step in results]
    assert [step.terminated.any().item() for step in results] == [False, False, False, True]
    assert not any(step.truncated.any() for step in results)


def test_the_total_reward_is_due_at_the_end_and_is_the_sum_of_rewards():
    results = [step for _, step in play(Maze(dtype=torch.float64), list(walks(Maze())))]
    assert all(step.scores["episodic_return"].isnan().all() for step in results[:-1])
    assert_close(results[-1].scores["episodic_return"], sum(step.reward for step in results))


# --- references


def best(task):
    """The expected reward of who knows the goal and acts as well as can be, by a search over all actions."""
    grid = build_maze_tables(task.size, CPU)
    ahead, cells = grid.next_cell.numpy(), len(grid.positions)
    totals = []
    for goal in set(range(cells)) - {grid.center}:
        others = [cell for cell in range(cells) if cell != goal]
        state_values = np.zeros(cells)  # of each cell with so many steps to go
        for _ in range(task.steps):
            landed = state_values[others].mean()
            gains = np.where(
                ahead == goal, 10 + landed, state_values[ahead] - 0.1 * (ahead == np.arange(cells)[:, None])
            )
            state_values = gains.max(1)
        totals.append(state_values[grid.center])
    return np.mean(totals)


@pytest.mark.parametrize("task", [Maze(20), Maze(7, 7), Maze(200, 5)])
def test_the_reference_of_a_known_goal_is_the_optimum(task):
    assert task.references()["episodic_return"]["knows the goal"] == pytest.approx(best(task), rel=1e-12)


def test_the_return_of_a_random_walk_matches_its_reference():
    task = Maze(100, dtype=torch.float64)
    results = play(task, list(walks(task, batch=20_000)))
    rewards = results[-1][1].scores["episodic_return"]
    lines = task.references()
    assert lines["episodic_return"]["random walk"] == pytest.approx(
        rewards.mean().item(), abs=4 * rewards.std().item() / 20_000**0.5
    )
    for score in ("goal_reached", "wall_collision"):
        found = torch.stack([step.scores[score] for _, step in results[1:]]).mean().item()
        assert lines[score]["random walk"] == pytest.approx(found, rel=0.03)


def test_who_knows_the_goal_never_runs_into_a_wall():
    assert Maze().references()["wall_collision"]["knows the goal"] == 0


@pytest.mark.parametrize("size", [5, 9])
def test_distances_are_those_of_a_search_through_the_grid(size):
    grid = build_maze_tables(size, CPU)
    for start in range(len(grid.positions)):
        reached, wave, steps = {start: 0}, {start}, 0
        while wave:
            steps += 1
            wave = {there for cell in wave for there in grid.next_cell[cell].tolist()} - reached.keys()
            reached |= dict.fromkeys(wave, steps)
        assert distances(grid)[start].tolist() == [reached[cell] for cell in range(len(grid.positions))]


# --- bad input


@pytest.mark.parametrize("size", [4, 3, 10])
def test_a_size_without_a_centre_or_a_goal_is_refused(size):
    with pytest.raises(ValueError, match=f"size={size}, want an odd number from 5 on"):
        Maze(size=size)


def test_no_steps_are_refused():
    with pytest.raises(ValueError, match="steps=0, want at least 1"):
        Maze(0)


@pytest.mark.parametrize("action", [torch.zeros(2, 4), torch.zeros(2), torch.zeros(2, 1, dtype=torch.long)])
def test_actions_that_are_no_integers_of_each_row_are_refused(action):
    state, _ = Maze().reset(2, seeded())
    with pytest.raises(ValueError, match=r"want integers \(batch,\) from 0 to 3.*policy that samples"):
        Maze().step(state, action, seeded())


# --- pictures


def drawn_at_random(output, mask, state, rng):
    return output.softmax(-1).multinomial(1, generator=rng).squeeze(-1), state


def pathed(task, batch=6):
    actions = walks(task, batch)
    results = play(task, list(actions))
    return task.path(results[0][0], actions), results


def test_a_path_is_where_the_agent_stood_after_each_step():
    task = Maze()
    path, results = pathed(task)
    places = build_maze_tables(9, CPU).positions
    assert torch.equal(path.positions, torch.stack([places[state.cell] for state, _ in results]))
    assert torch.equal(path.goals, places[results[0][0].goal])
    assert torch.equal(path.reached, torch.stack([step.scores["goal_reached"] > 0 for _, step in results[1:]]))
    assert not path.walls[tuple(path.positions.flatten(0, 1).T)].any()


def test_strides_lead_to_the_goal_when_it_is_reached_and_go_one_cell_or_none():
    path, _ = pathed(Maze())
    reached = 0
    for episode in range(6):
        tails, heads = step_segments(path, episode)
        lengths = (heads - tails).abs().sum(1).round()
        assert set(lengths.tolist()) == {0, 1}
        hits = path.reached[:, episode]
        assert (lengths[hits] == 1).all()
        assert_close((heads[hits] - path.goals[episode]).abs().amax(1) < 0.5, torch.ones(int(hits.sum())).bool())
        reached += int(hits.sum())
    assert reached


def test_figures_show_the_paths_of_the_first_episodes():
    path, _ = pathed(Maze())
    figure = plot_paths(path)
    assert len(figure.axes) == MAX_PANELS
    for episode, axes in enumerate(figure.axes):
        assert axes.get_title() == f"goal reached {int(path.reached[:, episode].sum())} times"
        arrows = axes.collections[0]
        assert arrows.N == 250
    png(figure)
    png(plot_paths(pathed(Maze(3), batch=1)[0]))


def test_inspection_of_a_maze_agent_draws_its_paths():
    task = Maze(8, dtype=torch.float64)
    view = inspect_agent(toy_agent(task), task, seeded(), 3, policy=drawn_at_random)
    assert "inner/paths" in view.plots and len(view.plots["inner/paths"].axes) == 3
    assert {"evaluation/episodic_return", "evaluation/goal_reached", "evaluation/wall_collision"} <= view.scalars.keys()


def test_a_task_without_a_grid_has_no_paths():
    task = RepeatPrevious(3, 1)
    assert task.path(task.reset(2, seeded())[0], torch.zeros(3, 2, dtype=torch.long)) is None
