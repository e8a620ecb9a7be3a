"""Notes: a memory outside of the agent, written by actions and read with observations."""

import pytest
import torch
from torch.testing import assert_close

from badger import GuessingGame, PooledRecall, RepeatPrevious, TMaze
from badger.testing import check_task
from badger.testing.task.cases import B, action, play
from tasks import Continuous, Discrete, Mixed, MultiDiscrete, Notes, PreviousActionReward, Task
from toys import Herd, Steps, seeded

TASKS = {
    "bits": lambda dtype: Notes(TMaze(3, dtype=dtype), bits=2),
    "real notes beside choices": lambda dtype: Notes(Steps(dtype=dtype), size=2),
    "both": lambda dtype: Notes(Steps(dtype=dtype), 1, 2),
    "real notes of a differentiable task": lambda dtype: Notes(GuessingGame(3, 2, dtype=dtype), size=1),
    "bits beside numbers": lambda dtype: Notes(GuessingGame(3, 2, dtype=dtype), bits=1),
    "logits are not taken": lambda dtype: Notes(RepeatPrevious(5, 2, dtype=dtype), bits=1),
    "agents": lambda dtype: Notes(Herd(dtype=dtype), bits=1, size=1),
    "experts": lambda dtype: Notes(PooledRecall(steps=3, experts=2, num_queries=1, dtype=dtype), bits=1),
    "notes of notes": lambda dtype: Notes(Notes(TMaze(3, dtype=dtype), size=1), bits=1),
    "with the last action": lambda dtype: PreviousActionReward(Notes(TMaze(3, dtype=dtype), 1, 1)),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_a_task_with_notes_passes_the_contract(make):
    check_task(make)


@pytest.mark.parametrize(
    ("task", "space"),
    [
        (Notes(TMaze(3), bits=2), MultiDiscrete((4, 3, 3))),
        (Notes(TMaze(3), size=2), Mixed(MultiDiscrete((4,)), Continuous(2, -1, 1))),
        (Notes(TMaze(3), 1, 1), Mixed(MultiDiscrete((4, 3)), Continuous(1, -1, 1))),
        (Notes(GuessingGame(3, 2), size=1), Continuous(3)),
        (Notes(GuessingGame(3, 2), bits=1), Mixed(MultiDiscrete((3,)), Continuous(2))),
    ],
)
def test_notes_are_written_beside_the_action_of_the_task(task, space):
    assert task.action_space == space


def notes_after(task: Task, *actions: list[float]) -> list[list[float]]:
    """The notes that one row observes, after each action."""
    rows = [torch.tensor([a] * B, dtype=task.dtype) for a in actions]
    if isinstance(task.action_space, MultiDiscrete | Discrete):
        rows = [row.long() for row in rows]
    return [step.obs[0, task.task.obs_size :].tolist() for _, step in play(task, rows)]


def test_a_bit_is_kept_set_and_cleared():
    task = Notes(TMaze(9), bits=2)
    assert notes_after(task, [0, 1, 0], [0, 0, 1], [0, 2, 0], [0, 0, 0]) == [[0, 0], [1, 0], [1, 1], [0, 1], [0, 1]]


def test_a_real_note_is_added_to_and_stays_between_its_bounds():
    task = Notes(TMaze(9, dtype=torch.float64), bits=1, size=1)
    assert notes_after(task, [0, 1, 0.5], [0, 0, 0.25], [0, 0, 0.75], [0, 2, -0.5]) == [
        [0, 0], [1, 0.5], [1, 0.75], [1, 1], [0, 0.5],
    ]  # fmt: skip


def test_the_task_itself_is_as_without_notes():
    bare = Steps(dtype=torch.float64)
    actions = [torch.randint(3, (B, 1), generator=seeded(t)) for t in range(bare.steps)]
    noted = [torch.cat([a, torch.randint(3, (B, 2), generator=seeded(9))], -1) for a in actions]
    plain = play(bare, [a.squeeze(-1) for a in actions])
    for (_, want), (_, got) in zip(plain, play(Notes(bare, bits=2), noted), strict=True):
        assert torch.equal(got.obs[:, :2], want.obs) and torch.equal(got.reward, want.reward)
        assert torch.equal(got.action_mask[:, :3], want.action_mask) and got.action_mask[:, 3:].all()


def test_a_new_episode_starts_without_notes():
    task = Notes(TMaze(3), bits=1)
    state, _ = play(task, [torch.tensor([[0, 1]] * B)])[-1]
    mask = torch.arange(B) < 2
    state, step = task.restart(state, mask, seeded())
    assert state.notes.squeeze(-1).tolist() == [0, 0, 1, 1] and not step.obs[mask, -1].any()


def test_each_agent_has_notes_of_its_own_and_an_absent_one_keeps_them():
    task = Notes(Herd(dtype=torch.float64), bits=1)
    sets = torch.tensor([[1, 1], [1, 0], [1, 1]]).expand(B, 3, 2)  # the last agent comes a step later
    (_, _), (state, step), (later, _) = play(task, [sets, sets])
    assert state.notes.squeeze(-1).tolist() == [[1, 0, 0]] * B
    assert not step.obs[~step.present].any()
    assert (later.notes[:, 2, 0] == state.acting[:, 2]).all()


def test_what_a_real_note_is_for_has_a_gradient():
    task = Notes(GuessingGame(3, 2, dtype=torch.float64), size=1)
    written = action(task).requires_grad_()
    _, (_, step) = play(task, [written])
    (gradient,) = torch.autograd.grad(step.obs[:, -1].sum(), written)
    assert_close(gradient[:, -1], (written[:, -1].abs() < 1).double())


@pytest.mark.parametrize("counts", [(0, 0), (-1, 2), (1, -1)])
def test_no_notes_and_negative_ones_are_refused(counts):
    with pytest.raises(ValueError, match=r"bits=-?\d, size=-?\d, want at least 0 each, and at least one note"):
        Notes(TMaze(3), *counts)


def test_choices_that_are_no_integers_are_refused():
    task = Notes(TMaze(3), bits=1)
    with pytest.raises(ValueError, match=r"actions \(4, 7\) of torch.float32, want integers \(batch, 2\): choices of"):
        play(task, [torch.zeros(B, 7)])


def test_they_want_a_task():
    with pytest.raises(ValueError, match=r"task=None, want a Task, as in Notes\(TMaze\(\)\)"):
        Notes(bits=1)
