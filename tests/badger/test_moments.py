"""Running moments and reward scaling against NumPy."""

from threading import Barrier, Thread, get_ident

import numpy as np
import pytest
import torch

from badger.moments import RewardScaling, RunningMoments
from toys import seeded

close = torch.testing.assert_close
CHUNKS = [torch.randn(n, 3, 2, generator=seeded(n), dtype=torch.float64) * 5 + 100 for n in (1, 4, 7)]


def test_moments_of_chunks_are_those_of_all_rows():
    moments = RunningMoments(2).double()
    for chunk in CHUNKS:
        moments.update(chunk, torch.ones(chunk.shape[:2], dtype=torch.bool))
    rows = torch.cat(CHUNKS).flatten(0, 1).numpy()
    close(moments.mean.numpy(), rows.mean(0))
    close(moments.var.numpy(), rows.var(0))
    assert moments.count == len(rows)


def test_masked_rows_do_not_count():
    masked, selected = RunningMoments(2).double(), RunningMoments(2).double()
    for chunk in CHUNKS:
        mask = chunk[..., 0] > 99
        masked.update(torch.where(mask.unsqueeze(-1), chunk, 1e9), mask)
        selected.update(chunk[mask], torch.ones(int(mask.sum()), dtype=torch.bool))
    close(masked.mean, selected.mean)
    close(masked.var, selected.var)


def test_no_rows_change_nothing():
    moments = RunningMoments(2)
    moments.update(torch.full((3, 2), torch.nan), torch.zeros(3, dtype=torch.bool))
    assert moments.mean.tolist() == [0, 0] and moments.var.tolist() == [1, 1] and moments.count == 0


def scale_by_numpy(reward, ended, mask, gamma):
    """The deviation of discounted returns, row by row and step by step."""
    returns = []
    for row in range(reward.shape[1]):
        running = 0.0
        for t in range(len(reward)):
            if mask[t, row]:
                running = gamma * running + reward[t, row]
                returns.append(running)
            running = 0.0 if ended[t, row] else running
    return np.std(returns)


def test_rewards_are_divided_by_the_deviation_of_the_running_discounted_return():
    reward = torch.randn(12, 3, generator=seeded(1), dtype=torch.float64) + 1
    ended = torch.rand(12, 3, generator=seeded(2)) < 0.2
    mask = torch.cat([torch.ones(1, 3, dtype=torch.bool), ~ended[:-1]])  # the step after an end only resets
    scaling = RewardScaling(0.9, torch.zeros((), dtype=torch.float64))
    for part in (slice(0, 5), slice(5, 12)):  # the running return goes on from one rollout to the next
        scaling.update(reward[part], ended[part] & mask[part], mask[part])
    std = scale_by_numpy(reward.numpy(), (ended & mask).numpy(), mask.numpy(), 0.9)
    close(scaling(reward), reward / std, rtol=1e-6, atol=0)


def test_a_scaled_reward_is_clipped_and_keeps_its_sign():
    scaling = RewardScaling(0.9, torch.zeros(()))
    assert scaling(torch.tensor([-1e9, -0.5, 0.0, 1e9])).tolist() == [-10, -0.5, 0, 10]


@pytest.mark.parametrize("same_episodes", [True, False])
def test_running_returns_are_restored_with_their_episodes_alone(same_episodes):
    scaling, restored = (RewardScaling(0.9, torch.zeros(())) for _ in range(2))
    none = torch.zeros(4, 2, dtype=torch.bool)
    scaling.update(torch.ones(4, 2), none, ~none)
    restored.load_state_dict(scaling.state_dict(), same_episodes=same_episodes)
    close(restored.moments.var, scaling.moments.var)
    assert (restored.running is None) != same_episodes


class TwoRanks:
    """Stands for `badger.distributed` in two threads, which meet at each reduction."""

    def __init__(self):
        self.barrier, self.tensors = Barrier(2), {}

    def all_reduce_mean_(self, tensors):
        self.tensors[get_ident()] = [tensor.clone() for tensor in tensors]
        self.barrier.wait(10)
        means = [sum(parts) / 2 for parts in zip(*self.tensors.values(), strict=True)]
        self.barrier.wait(10)
        for tensor, mean in zip(tensors, means, strict=True):
            tensor.copy_(mean)
        self.barrier.wait(10)

    def world_size(self):
        return 2


def test_moments_are_those_of_the_rows_of_all_processes(monkeypatch):
    monkeypatch.setattr("badger.moments.distributed", TwoRanks())
    moments = [RunningMoments(2).double() for _ in range(2)]
    masks = [torch.rand(chunk.shape[:2], generator=seeded(3)) < 0.7 for chunk in CHUNKS[1:]]
    updates = [Thread(target=moments[i].update, args=(CHUNKS[1 + i], masks[i])) for i in range(2)]
    for update in updates:
        update.start()
    for update in updates:
        update.join()
    rows = torch.cat([chunk[mask] for chunk, mask in zip(CHUNKS[1:], masks, strict=True)])
    for one in moments:
        close(one.mean, rows.mean(0))
        close(one.var, rows.var(0, correction=0))
        assert one.count == len(rows)
