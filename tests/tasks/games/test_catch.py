"""Catch against the rules, played one board at a time; its references against every game there is."""

import itertools

import pytest
import torch

from tasks import Catch
from toys import seeded


def plain_game(rows, columns, ball, moves):
    """Boards, rewards and ends of one game, as the rules are told."""
    paddle, boards, rewards = columns // 2, [], []
    for row in range(rows):
        if row:
            paddle = min(max(paddle + moves[row - 1] - 1, 0), columns - 1)
        board = [[0.0] * columns for _ in range(rows)]
        board[row][ball] = board[-1][paddle] = 1.0
        boards.append([cell for line in board for cell in line])
        rewards.append(0.0 if row < rows - 1 else 1.0 if paddle == ball else -1.0)
    return boards, rewards


@pytest.mark.parametrize(("rows", "columns"), [(10, 5), (2, 1), (3, 4)])
def test_every_step_is_as_in_the_plain_game(rows, columns):
    task, rng = Catch(rows=rows, columns=columns, dtype=torch.float64), seeded()
    state, step = task.reset(40, rng)
    assert len(set(state.ball.tolist())) == columns
    moves = torch.randint(3, (task.steps, 40), generator=rng)
    games = [plain_game(rows, columns, ball, moves[:, row].tolist()) for row, ball in enumerate(state.ball.tolist())]
    for t in range(rows):
        if t:
            state, step = task.step(state, moves[t - 1], rng)
        assert step.obs.tolist() == [boards[t] for boards, _ in games]
        assert step.reward.tolist() == [rewards[t] for _, rewards in games]
        assert step.terminated.tolist() == [t == rows - 1] * 40 and not step.truncated.any()
    assert step.scores["episodic_return"].tolist() == step.reward.tolist()


@pytest.mark.parametrize(("rows", "columns"), [(5, 4), (3, 7), (2, 3)])
def test_references_equal_the_mean_and_the_best_of_all_games(rows, columns):
    task = Catch(rows=rows, columns=columns)
    returns = [
        [plain_game(rows, columns, ball, moves)[1][-1] for moves in itertools.product(range(3), repeat=rows - 1)]
        for ball in range(columns)
    ]
    known = task.references()["episodic_return"]
    assert known["chance"] == pytest.approx(sum(map(sum, returns)) / sum(map(len, returns)))
    assert known["optimum"] == pytest.approx(sum(map(max, returns)) / columns)


def test_its_episodes_have_the_numbers_of_the_columns():
    task = Catch()
    state, _ = task.reset_to(torch.arange(task.num_episodes), seeded())
    assert state.ball.tolist() == [0, 1, 2, 3, 4]
    assert task.references() == {"episodic_return": pytest.approx({"chance": -0.6, "optimum": 1.0})}


def test_a_board_without_a_fall_is_refused():
    with pytest.raises(ValueError, match="rows=1, want at least 2"):
        Catch(rows=1)
