"""The tasks that are learned from recordings: their rules, worked out by hand, and their references, by simulation."""

import networkx as nx
import numpy as np
import pytest
import torch

from tasks import CartWorld, FourRooms, Gambling, KeyToDoor, RandomWalkGraph
from tasks.offline.random_walk_graph import build_graph

CPU = torch.device("cpu")


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_scores(task, batch=4000):
    """Mean scores of allowed random actions, each at the end of its episode."""
    rng = seeded(1)
    state, step = task.reset(batch, rng)
    over, found = torch.zeros(batch, dtype=torch.bool), {name: [] for name in step.scores}
    for _ in range(task.steps):
        weights = torch.ones(batch, task.action_space.size) if step.action_mask is None else step.action_mask.float()
        state, step = task.step(state, torch.multinomial(weights, 1, generator=rng).squeeze(1), rng)
        done = (step.terminated | step.truncated) & ~over
        for name, score in step.scores.items():
            found[name].append(score[done])
        over |= done
    return {name: torch.cat(scores).nanmean().item() for name, scores in found.items()}


@pytest.mark.parametrize(
    ("task", "tolerance"),
    [
        (RandomWalkGraph(), 0.03),
        (RandomWalkGraph(4, 6, 0.3, 2), 0.03),
        (KeyToDoor(), 0.02),
        (FourRooms(20, 7), 0.03),
        (Gambling(3), 0.6),
        (CartWorld(10), 0.1),
    ],
)
def test_the_chance_levels_are_those_of_random_actions(task, tolerance):
    found = random_scores(task)
    for name, lines in task.references().items():
        if "chance" in lines:
            assert found[name] == pytest.approx(lines["chance"], abs=tolerance), name


@pytest.mark.parametrize("seed", range(5))
def test_every_node_of_a_graph_is_connected_to_the_goal(seed):
    graph = build_graph(20, 0.1, seed)
    assert nx.is_connected(graph) and len(graph) == 20
    assert nx.utils.graphs_equal(graph, build_graph(20, 0.1, seed))


def test_walks_on_shortest_paths_have_the_best_scores():
    task, rng = RandomWalkGraph(graph=3), seeded()
    tables = task.tables(CPU)
    state, _ = task.reset(50, rng)
    total, open_ = torch.zeros(50), torch.ones(50, dtype=torch.bool)
    scores = {name: torch.zeros(50) for name in ("shortest", "episodic_return")}
    for _ in range(task.steps):
        nearest = torch.where(tables.edges[state.node], tables.distance, 99).argmin(-1)
        state, step = task.step(state, nearest, rng)
        total += step.reward * open_
        for name, values in scores.items():
            values[open_ & step.terminated] = step.scores[name][open_ & step.terminated]
        open_ &= ~step.terminated
    assert not open_.any() and scores["shortest"].eq(1).all()
    torch.testing.assert_close(total, scores["episodic_return"])
    assert total.tolist() == (1 - tables.distance[state.start]).tolist()


def test_a_walk_stays_where_it_is_when_the_next_node_is_no_neighbor():
    task, rng = RandomWalkGraph(), seeded()
    state, step = task.reset(20, rng)
    assert step.action_mask is not None
    after, other = task.step(state, (~step.action_mask).to(torch.uint8).argmax(-1), rng)
    assert torch.equal(after.node, state.node) and torch.equal(other.obs, step.obs) and other.reward.eq(-1).all()


def test_the_door_pays_only_with_the_key():
    task, rng = KeyToDoor(side=3, room_steps=4, distractor_steps=2), seeded()
    state, _ = task.reset(40, rng)
    rich = torch.arange(40) % 2 == 0
    reward, seen = torch.zeros(40), []
    for t in range(task.steps):
        goal = state.target[:, 0 if t < 4 else 1]
        gap = goal - state.place
        vertical = gap[:, 0] != 0
        action = torch.where(vertical, torch.where(gap[:, 0] < 0, 0, 2), torch.where(gap[:, 1] < 0, 3, 1))
        if t < 4:  # the others do not step on the key
            action = torch.where(rich, action, other_way(state.place, goal))
        running = ~state.opened
        state, step = task.step(state, action, rng)
        reward += step.reward * running
        seen.append(step.obs)
    assert state.has_key[rich].all() and reward[rich].eq(1).all()
    assert reward[~rich & ~state.has_key].eq(0).all() and (~rich & ~state.has_key).any() and state.opened.all()
    assert seen[4][:, 9:].eq(0).all()  # nothing is seen in the distractor room


def other_way(place, goal):
    """A move up or left, whichever does not reach the goal at once."""
    up = place - torch.tensor([1, 0])
    return torch.where((up == goal).all(-1), 3, 0)


def test_the_grid_has_four_doors_and_its_distances_are_symmetric():
    tables = FourRooms(size=11).tables(CPU)
    assert len(tables.positions) == 4 * 16 + 4
    assert torch.equal(tables.distance, tables.distance.T) and tables.distance.max() < 20
    middle = ~tables.walls[5]
    assert middle.nonzero().flatten().tolist() == [3, 7] and torch.equal(~tables.walls[:, 5], middle)


def test_the_shortest_path_to_the_goal_has_the_ratio_one():
    task, rng = FourRooms(size=7), seeded()
    tables = task.tables(CPU)
    state, step = task.reset(30, rng)
    initial, taken, best = state, [], torch.full((30,), torch.nan)
    for _ in range(12):
        action = tables.distance[tables.next_cell[state.cell], state.goal.unsqueeze(1)].argmin(-1)
        state, step = task.step(state, action, rng)
        taken.append(action)
        best = torch.where(best.isnan(), step.scores["path_ratio"], best)
    assert best.eq(1).all()
    path = task.path(initial, torch.stack(taken))
    assert path.reached.any(0).all() and torch.equal(path.positions[-1], tables.positions[state.cell])


def test_the_gamble_is_better_at_best_and_worse_on_average():
    task, rng = Gambling(2), seeded()
    state, _ = task.reset(10_000, rng)
    for _ in range(2):
        state, step = task.step(state, torch.ones(10_000, dtype=torch.long), rng)
    got, lines = step.scores["episodic_return"], task.references()["episodic_return"]
    assert got.max() == 10 and got.mean().item() == pytest.approx(lines["greedy on luck"], abs=0.5)
    assert lines["greedy on luck"] < lines["optimum"] == 2 < got.max()


def test_a_cart_is_paid_its_velocity():
    task, rng = CartWorld(10, noise=0.0, dtype=torch.float64), seeded()
    state, _ = task.reset(1, rng)
    total = 0.0
    for action in [2] * 7 + [0] * 3:
        state, step = task.step(state, torch.tensor([action]), rng)
        total += step.reward.item()
    assert total == pytest.approx(0.2 + 0.4 + 0.6 + 0.8 + 3 + 0.8 + 0.6 + 0.4) == step.scores["episodic_return"].item()
    assert step.obs.tolist() == [[pytest.approx(0.4), 0.0]] and step.terminated.all()


def test_velocities_are_compared_with_those_that_are_wanted():
    task, rng = CartWorld(12, wanted=(0.6, -0.4)), seeded()
    state, step = task.reset(3, rng)
    assert step.scores["velocity_distance"].isnan().all()
    lived = []
    for _ in range(12):
        state, step = task.step(state, torch.randint(3, (3,), generator=rng), rng)
        lived.append(step.reward)
    stats = pytest.importorskip("scipy.stats")
    wanted = [0.6] * 6 + [-0.4] * 6
    want = [stats.wasserstein_distance(row, wanted) for row in torch.stack(lived, 1).tolist()]
    np.testing.assert_allclose(step.scores["velocity_distance"].numpy(), want, atol=1e-6)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: CartWorld(wanted=(0.5, 2.0)), r"wanted=\(0.5, 2.0\), want velocities from -1 to 1"),
        (lambda: RandomWalkGraph(nodes=1), "nodes=1, want at least 2"),
        (lambda: RandomWalkGraph(edge_probability=1.5), "edge_probability=1.5, want a probability"),
        (lambda: KeyToDoor(side=1), "side=1, want at least 2"),
        (lambda: FourRooms(size=8), "size=8, want an odd number of at least 7"),
        (lambda: Gambling(loss=0.0), "are 2.5 on average, want less than safe=1.0"),
        (lambda: CartWorld(acceleration=0), "acceleration=0, want a number above 0"),
    ],
)
def test_numbers_that_make_no_world_are_refused(make, error):
    with pytest.raises(ValueError, match=error):
        make()
