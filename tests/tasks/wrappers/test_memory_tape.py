"""A memory tape: cells outside of the agent, at a head that actions move."""

import pytest
import torch
from torch.testing import assert_close

from badger import GuessingGame, TMaze
from badger.testing import check_task
from badger.testing.task.cases import B, play
from tasks import Continuous, InputTape, MemoryTape, Mixed, MultiDiscrete
from toys import Herd, Steps, seeded

LEFT, STAY, RIGHT = range(3)
KEPT, ERASED = -50.0, 50.0
TASKS = {
    "choices": lambda dtype: MemoryTape(Steps(dtype=dtype), 3, 2),
    "numbers": lambda dtype: MemoryTape(GuessingGame(3, 2, dtype=dtype), 3, 2),
    "input tape": lambda dtype: MemoryTape(InputTape(2, 3, dtype=dtype), 3, 2),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_a_task_with_a_memory_tape_passes_the_contract(make):
    check_task(make)


def test_the_action_has_a_move_a_gate_and_what_is_written():
    assert MemoryTape(TMaze(3), 3, 2).action_space == Mixed(MultiDiscrete((4, 3)), Continuous(3, -1, 1))
    tape = MemoryTape(InputTape(2, 5), 3, 2)
    assert tape.action_space == Mixed(MultiDiscrete((3, 2, 3)), Continuous(8)) and tape.differentiable
    assert not MemoryTape(TMaze(3), 3, 2).differentiable


def test_a_cell_is_erased_added_to_and_seen_again():
    task = MemoryTape(TMaze(9, dtype=torch.float64), cells=2, size=1)
    rows = [
        [0, RIGHT, KEPT, 3.0],  # writes 3 into the first cell, and goes on to the second
        [0, LEFT, KEPT, 5.0],
        [0, STAY, KEPT, 1.0],
        [0, STAY, ERASED, 7.0],
        [0, RIGHT, KEPT, 0.0],
        [0, RIGHT, KEPT, 0.0],  # there is no third cell
    ]
    episode = play(task, [torch.tensor([row] * B, dtype=torch.float64) for row in rows])
    seen = torch.stack([step.obs[0, -1] for _, step in episode])
    assert_close(seen, torch.tensor([0.0, 0, 3, 4, 7, 5, 5], dtype=torch.float64))


def test_what_is_read_has_a_gradient_to_what_was_written():
    task = MemoryTape(InputTape(3, 2, dtype=torch.float64), cells=2, size=1)
    written = torch.zeros(B, 7, dtype=torch.float64).requires_grad_()
    right, left = (torch.tensor([[0.0, 0, move, 0, 0, 0, 0]] * B, dtype=torch.float64) for move in (RIGHT, LEFT))
    episode = play(task, [written + right, left])
    (gradient,) = torch.autograd.grad(episode[-1][1].obs[:, -1].sum(), written)
    assert gradient[:, -1].tolist() == [1] * B and not gradient[:, :3].any()


def test_a_new_episode_starts_with_an_empty_tape():
    task = MemoryTape(TMaze(3), cells=2, size=1)
    state, _ = play(task, [torch.tensor([[0, RIGHT, KEPT, 0.5]] * B)])[-1]
    state, _ = task.restart(state, torch.arange(B) < 2, seeded())
    assert state.tape[:, 0, 0].tolist() == [0, 0, 0.5, 0.5] and state.head.tolist() == [0, 0, 1, 1]


def test_several_agents_are_refused():
    with pytest.raises(ValueError, match="task=Herd has 3 agents, want a task of one agent"):
        MemoryTape(Herd())
