"""Distributions of rewards that are asked for: what is left of them, and how far two of them are apart."""

import numpy as np
import pytest
import torch

from experts.trajectory.futures import BidirectionalFuture, CategoricalFuture, wasserstein
from experts.trajectory.generalized import GeneralizedDT
from experts.trajectory.layout import StepLayout

OBS, ACTION = 2, 3


def histogram(bins=4):
    future = CategoricalFuture(bins)
    future.fit(0.0, 4.0)
    return future


def make(match="categorical", **options):
    torch.manual_seed(0)
    sizes = {"layout": StepLayout(OBS, numbers=ACTION), "context": 4, "layers": 1, "bins": 4} | options
    core = GeneralizedDT(OBS + ACTION + 2, 6, match=match, **sizes).double()
    core.future.fit(0.0, 4.0)
    core.ask(torch.tensor([0.5, 1.5, 1.5, 3.5]))
    return core


def inputs(rewards, batch=2):
    xs = torch.randn(len(rewards), batch, 1, OBS + ACTION + 2, generator=torch.Generator().manual_seed(0)).double()
    xs[..., OBS + ACTION] = torch.tensor(rewards).double().view(-1, 1, 1)
    return xs


def test_a_histogram_counts_the_valid_rewards_of_each_episode_alone():
    reward = torch.tensor([[0.2, 1.1, 1.9, 9.0], [3.0, -5.0, 0.0, 0.0]])
    valid = torch.tensor([[True] * 4, [True, True, False, False]])
    assert histogram().describe(reward, valid).tolist() == [[1, 2, 0, 1], [1, 0, 0, 1]]


def test_each_histogram_is_normalized_and_none_is_changed():
    counts = torch.tensor([[[1.0, 3.0, 0.0, 0.0]], [[2.0, 0.0, 1.0, 1.0]]])
    before = counts.clone()
    assert histogram()(counts).tolist() == [[[0.25, 0.75, 0.0, 0.0]], [[0.5, 0.0, 0.25, 0.25]]]
    assert torch.equal(counts, before)


def test_what_was_lived_is_taken_off_what_is_asked_for():
    core, xs = make(), inputs([0.0, 1.2, 3.3])  # the first input of an episode has no reward
    state = core.initial_state(xs[0])
    left = []
    for x in xs:
        _, state = core(x, state)
        left.append(state.left[0, 0].tolist())
    assert left == [[1, 2, 0, 1], [1, 1, 0, 1], [1, 1, 0, 0]]
    assert core.metrics(state)["return_to_go"].tolist() == [pytest.approx(7 - 4.5)] * 2


def test_a_reward_that_was_not_asked_for_is_taken_off_the_nearest_that_was():
    left = torch.tensor([[[0.0, 0.0, 2.0, 1.0]], [[1.0, 0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0, 0.0]]])
    after = histogram().advance(left, torch.tensor([[0.5], [3.5], [1.5]]))
    assert after.tolist() == [[[0, 0, 1, 1]], [[0, 0, 0, 0]], [[0, 0, 0, 0]]]


def test_a_recorded_future_is_what_its_end_makes_of_it():
    core, reward = make(), torch.tensor([[0.5, 1.5, 2.5], [1.0, 0.0, 0.0]])
    xs, valid = inputs([0.0, 0.0]), torch.tensor([[True, True, True], [True, False, False]])
    state = core.with_future(core.initial_state(xs[0]), reward, valid)
    assert state.left[:, 0].tolist() == [[1, 1, 1, 0], [0, 1, 0, 0]]


def test_a_code_of_the_future_reads_it_up_to_its_steps_and_not_beyond():
    torch.manual_seed(0)
    future = BidirectionalFuture(size=5, steps=3, longest=6).double()
    left = future.describe(torch.randn(1, 6).double(), torch.ones(1, 6, dtype=torch.bool)).unsqueeze(1).requires_grad_()
    (grad,) = torch.autograd.grad(future(left).square().sum(), left)
    assert (grad[0, 0, :3, 0] != 0).all() and not grad[0, 0, 3:].any()
    assert torch.equal(future.advance(left, torch.zeros(1, 1))[0, 0, :5], left[0, 0, 1:])


@pytest.mark.parametrize("match", ["categorical", "bidirectional"])
def test_a_sequence_of_episodes_is_unrolled_as_it_is_stepped(match):
    core, xs = make(match), inputs([0.0, 1.0, 2.0, 3.0, 1.0, 0.5])
    reset = torch.zeros(6, 2, dtype=torch.bool)
    reset[3, 1] = True
    ys, end = core.unroll(xs, core.initial_state(xs[0]), reset)
    alone, last = core.unroll(xs[3:, 1:], core.initial_state(xs[3, 1:]))
    torch.testing.assert_close(ys[3:, 1:], alone)
    torch.testing.assert_close(end.left[1:], last.left)


@pytest.mark.parametrize("seed", range(3))
def test_the_distance_is_that_of_sorted_samples(seed):
    rng = np.random.default_rng(seed)
    one, other = rng.integers(0, 6, (2, 50))
    counts = [torch.tensor(np.bincount(part, minlength=6)).double() for part in (one, other)]
    want = abs(np.sort(one) - np.sort(other)).mean() * 0.5
    assert wasserstein(counts[0], 3 * counts[1], 0.5).item() == pytest.approx(want)
