"""Tree MDP: its walk, its rewards, and its references against simulation."""

import pytest
import torch

from tasks import TreeMDP
from toys import seeded


def play(task, batch, choose):
    """Final step, and the branches that were taken, (B, depth)."""
    rng = seeded()
    state, step = task.reset(batch, rng)
    assert not step.obs.any()
    for t in range(task.depth):
        state, step = task.step(state, choose(step.obs, t, rng), rng)
        assert step.terminated.tolist() == [t == task.depth - 1] * batch
    codes = step.obs.reshape(batch, task.depth, -1)
    assert (codes.sum(-1) == 1).all()
    return step, codes.argmax(-1)


def test_random_actions_take_branches_by_their_probabilities_and_are_paid_the_means():
    task = TreeMDP(depth=2, actions=2, branching=3, noise=0.0, tree=3)
    step, path = play(task, 40_000, lambda obs, t, rng: torch.randint(2, (len(obs),), generator=rng))
    means = torch.as_tensor(task.trees.means[0], dtype=step.reward.dtype)
    leaf = path[:, 0] * 6 + path[:, 1]
    assert torch.equal(step.reward, means[leaf])
    root, second = (torch.as_tensor(level[0]) for level in task.trees.probabilities)
    wanted = (root.reshape(6, 1) * second.reshape(6, 6) / 4).flatten()
    torch.testing.assert_close(torch.bincount(leaf, minlength=36) / 40_000, wanted.float(), atol=0.01, rtol=0)
    chance = task.references()["episodic_return"]["chance"]
    assert step.scores["episodic_return"].mean().item() == pytest.approx(chance, abs=0.02)


def test_the_optimum_is_what_the_best_actions_are_paid_with_noise():
    task = TreeMDP(depth=1, actions=3, branching=2, noise=0.5)
    expected = (task.trees.probabilities[0][0, 0] * task.trees.means[0].reshape(3, 2)).sum(-1)
    step, path = play(task, 40_000, lambda obs, t, rng: torch.full((len(obs),), int(expected.argmax())))
    assert step.reward.mean().item() == pytest.approx(task.references()["episodic_return"]["optimum"], abs=0.03)
    of_one_leaf = step.reward[path[:, 0] == path[0, 0]]
    assert of_one_leaf.std().item() == pytest.approx(0.5, abs=0.03)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"actions": 0}, "actions=0, want at least 1"),
        ({"noise": -1.0}, "noise=-1.0, want at least 0"),
        ({"depth": 9}, r"depth=9, actions=4 and branching=2 are 8\^9 leaves, want at most 1,000,000"),
    ],
)
def test_sizes_that_cannot_be_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        TreeMDP(**fields)
