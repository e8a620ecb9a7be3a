"""The ballet: a plain simulation of its rules, and a scripted player that remembers all it has seen."""

import pytest
import torch

from tasks import Ballet, BalletRecall
from tasks.games.ballet import _random_walk
from tasks.games.dances import COMPASS, DANCES, MOVES, question_step
from toys import seeded


class Player:
    """Knows the dances by heart, and remembers where each was danced; reads observations only."""

    def __init__(self):
        self.path, self.place_of, self.place = [], {}, None

    def act(self, obs):
        place, cell, name = (part.tolist() for part in obs[:31].split([8, 9, 14]))
        if any(place):
            self.place = place.index(1)
            self.path.append(divmod(cell.index(1), 3))
        elif self.path:
            self.place_of[self.dance()] = self.place
            self.path = []
        return 0 if name[0] else self.place_of[list(DANCES)[name.index(1) - 1]]

    def dance(self):
        """The name of the dance whose moves, from the middle on, lead along the path."""
        for name, moves in DANCES.items():
            row, column, path = 1, 1, []
            for move in moves:
                row, column = row + COMPASS[move][0], column + COMPASS[move][1]
                path.append((row, column))
            if path == self.path:
                return name
        raise AssertionError(f"no dance goes along {self.path}")


@pytest.mark.parametrize(("dances", "delay"), [(1, 1), (2, 16), (8, 5)])
def test_a_player_with_perfect_memory_finds_each_dancer_and_names_each_place(dances, delay):
    for task in (Ballet(dances, delay), BalletRecall(dances, delay)):
        state, step = task.reset(6, seeded())
        players, total = [Player() for _ in range(6)], torch.zeros(6)
        for t in range(question_step(dances, delay) + (4 if isinstance(task, Ballet) else 1)):
            assert not step.terminated.any() and not step.truncated.any(), t
            action = torch.tensor([player.act(obs) for player, obs in zip(players, step.obs, strict=True)])
            if isinstance(task, Ballet) and t == question_step(dances, delay) - 1:
                assert (step.obs[:, -2:] == 0).all()  # the agent has not moved
            state, step = task.step(state, action, seeded())
            total += step.reward
            if step.terminated.all():
                break
        assert step.terminated.all() and (total == 1).all()
        assert (step.scores[task.score] == (1 if isinstance(task, Ballet) else 0)).all()


def test_the_public_timing_is_kept():
    """One dancer, delay 16: thirty actions later one still watches, one more leads to the name and moves nobody."""
    task = Ballet(dances=1, delay=16)
    state, step = task.reset(4, seeded())
    dancing, named, positions = [], [], []
    for _ in range(35):
        dancing.append(bool(step.obs[0, :8].any()))
        named.append(bool(step.obs[0, 18:31].any()))
        positions.append(step.obs[0, -2:].tolist())
        state, step = task.step(state, state.place[:, 0], seeded())
        if step.terminated[0]:
            break
    assert dancing == [True] * 16 + [False] * (len(dancing) - 16)
    assert named.index(True) == 31 and len(named) == 34  # three moves
    assert positions[31] == [0, 0] and positions[32] != [0, 0]
    assert step.reward[0] == 1


@pytest.mark.parametrize("name", DANCES)
def test_each_dance_stays_within_its_square_and_ends_where_it_began(name):
    places = torch.tensor([COMPASS[move] for move in DANCES[name]]).cumsum(0)
    assert len(places) == MOVES and places.abs().max() == 1 and places[-1].tolist() == [0, 0]
    assert sum(moves == DANCES[name] for moves in DANCES.values()) == 1


def test_dancers_have_different_places_and_dances_and_each_is_named_as_often():
    state, _ = Ballet(dances=8).reset(4000, seeded())
    assert (state.place.sort(-1).values == torch.arange(8)).all()
    dances = state.dance.sort(-1).values
    assert (dances.diff(dim=-1) > 0).all() and dances.max() == len(DANCES) - 1
    assert state.target.bincount().float().std() < 60
    assert state.place[:, 0].bincount().float().std() < 60


def test_the_wrong_dancer_ends_the_episode_without_reward_and_a_wall_stops():
    task = Ballet(dances=2, delay=1)
    state, _ = task.reset(1, seeded())
    state = state._replace(t=torch.tensor([32]), place=torch.tensor([[0, 1]]), target=torch.tensor([1]))
    for _ in range(3):
        state, step = task.step(state, torch.tensor([0]), seeded())
    assert step.terminated.item() and step.reward.item() == 0 and step.scores["success"].item() == 0
    state = state._replace(position=torch.tensor([[-4, -4]]))
    for action in (0, 1, 5, 6, 7):
        blocked, step = task.step(state, torch.tensor([action]), seeded())
        assert blocked.position.tolist() == [[-4, -4]] and not step.terminated


def test_the_references_are_those_of_simulated_games():
    task, rng = Ballet(dances=3, delay=2), seeded()
    state, _ = task.reset(2000, rng)
    state = state._replace(t=torch.full_like(state.t, task.steps - 40))
    running, won = torch.ones(2000, dtype=torch.bool), torch.zeros(2000)
    for _ in range(40):
        state, step = task.step(state, torch.randint(8, (2000,), generator=rng), rng)
        won += step.reward * running
        running &= ~step.terminated
    assert won.mean().item() == pytest.approx(_random_walk(3, 40) / 3, abs=0.03)
    want = task.references()["success"]
    assert want["any dancer"] == 1 / 3 and 0 < want["chance"] < 1 / 3


@pytest.mark.parametrize(("delay", "dances", "steps"), [(16, 8, 320), (48, 8, 1024), (16, 2, 320), (120, 8, 1152)])
def test_an_episode_is_cut_off_where_published_and_has_time_for_the_moves(delay, dances, steps):
    assert Ballet(dances, delay).steps == steps


def test_the_labels_are_where_dances_begin_and_the_name():
    task = Ballet(dances=2, delay=1)
    state, _ = task.reset(3, seeded())
    labels = task.step_labels(state, 1)
    assert [labels[0], labels[16]] == [list(COMPASS)[place] for place in state.place[1]]
    assert labels[32] == list(DANCES)[state.dance[1, state.target[1]]] and len(labels) == 35


@pytest.mark.parametrize("task", [Ballet, BalletRecall])
def test_sizes_out_of_range_are_refused(task):
    with pytest.raises(ValueError, match="dances=9, want from 1 to 8"):
        task(dances=9)
    with pytest.raises(ValueError, match="delay=0, want at least 1"):
        task(delay=0)
