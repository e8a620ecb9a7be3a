"""Discrete policies: samples and log-probabilities, checked by hand."""

from math import log

import pytest
import torch
from torch.testing import assert_close

from badger import POLICIES, Greedy, Sampled
from badger.policies.policies import entropy, log_probability, simpson
from tasks import Discrete, MultiDiscrete
from toys import seeded

QUARTERS = torch.tensor([0.5, 0.25, 0.25], dtype=torch.float64).log()
PAIR = MultiDiscrete((2, 3))
SIDE = torch.cat(
    [torch.tensor([0.75, 0.25], dtype=torch.float64).log() + 7, QUARTERS - 3]
)  # logits are shift-invariant
VALUE = torch.tensor([9.0], dtype=torch.float64)
MASK = torch.tensor([False, True, True])


def frequencies(space, output, action_mask=None, samples=20_000):
    """The frequency of each choice among samples."""
    action_mask = None if action_mask is None else action_mask.expand(samples, -1)
    actions, _ = Sampled(space)(output.expand(samples, -1), action_mask, (), seeded())
    return torch.stack([(actions == i).double().mean(0) for i in range(3)])


# --- sampling


def test_choices_are_sampled_with_their_probabilities():
    assert_close(frequencies(Discrete(3), QUARTERS), QUARTERS.exp(), rtol=0, atol=0.01)


def test_each_of_several_choices_is_sampled_with_its_probabilities():
    first, second = frequencies(PAIR, SIDE).T
    assert_close(first, torch.tensor([0.75, 0.25, 0.0]).double(), rtol=0, atol=0.01)
    assert_close(second, QUARTERS.exp(), rtol=0, atol=0.01)


def test_choices_are_sampled_independently():
    actions, _ = Sampled(PAIR)(SIDE.expand(20_000, -1), None, (), seeded())
    both = ((actions[:, 0] == 0) & (actions[:, 1] == 0)).double().mean()
    assert_close(both.item(), 0.75 * 0.5, rtol=0, atol=0.01)


def test_masked_actions_are_never_sampled():
    assert_close(frequencies(Discrete(3), QUARTERS, MASK), torch.tensor([0, 0.5, 0.5]).double(), rtol=0, atol=0.01)


def test_samples_depend_on_the_generator_alone():
    samples = [Sampled(Discrete(3))(QUARTERS.expand(50, -1), None, (), seeded(seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(samples[0], samples[1]) and not torch.equal(samples[0], samples[2])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("space", "output", "shape"), [(Discrete(3), QUARTERS, (4,)), (PAIR, SIDE, (4, 2))])
def test_actions_are_integers_with_or_without_a_value_behind_the_logits(policy, space, output, shape):
    actions = [
        POLICIES[policy](space)(out.expand(4, -1), None, (), seeded())[0]
        for out in (output, torch.cat([output, VALUE]))
    ]
    assert torch.equal(*actions) and actions[0].shape == shape and actions[0].dtype == torch.long


def test_greedy_takes_the_most_likely_allowed_action():
    output = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]])
    assert Greedy(Discrete(3))(output, None, (), seeded())[0].tolist() == [0, 1]
    assert Greedy(Discrete(3))(output, MASK.expand(2, -1), (), seeded())[0].tolist() == [2, 1]
    assert Greedy(PAIR)(torch.cat([output[:, :2], output], -1), None, (), seeded())[0].tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_choice_is_returned_for_logits_that_are_not_finite(policy):
    output = torch.tensor([[float("nan")] * 3, [float("inf"), 0, 0]])
    actions = POLICIES[policy](Discrete(3))(output, None, (), seeded())[0]
    assert ((actions >= 0) & (actions < 3)).all()


# --- log-probabilities


def test_the_log_probability_is_that_of_the_softmax():
    output = torch.cat([QUARTERS + 4, VALUE]).expand(2, 3, -1)
    actions = torch.tensor([[0, 1, 2], [2, 0, 0]])
    expected = [[log(0.5), log(0.25), log(0.25)], [log(0.25), log(0.5), log(0.5)]]
    assert_close(log_probability(output, actions, Discrete(3)), torch.tensor(expected, dtype=torch.float64))


def test_log_probabilities_of_several_choices_add_up():
    log_prob = log_probability(SIDE.expand(2, -1), torch.tensor([[0, 0], [1, 2]]), PAIR)
    assert_close(log_prob, torch.tensor([log(0.75 * 0.5), log(0.25 * 0.25)], dtype=torch.float64))


def test_the_softmax_is_over_allowed_actions():
    log_prob = log_probability(QUARTERS, torch.tensor(1), Discrete(3), MASK)
    assert_close(log_prob.item(), log(0.5))


def test_entropy_by_hand():
    quarters = 0.5 * log(2) + 0.5 * log(4)
    assert_close(entropy(QUARTERS, Discrete(3)).item(), quarters)
    assert_close(entropy(QUARTERS, Discrete(3), MASK).item(), log(2))
    assert_close(entropy(SIDE, PAIR).item(), quarters + 0.75 * log(4 / 3) + 0.25 * log(4))


def test_simpson_by_hand():
    assert_close(simpson(torch.cat([QUARTERS, VALUE]), Discrete(3)).item(), 0.25 + 2 / 16)
    assert_close(simpson(QUARTERS, Discrete(3), MASK).item(), 0.5)
    assert_close(simpson(SIDE, PAIR).item(), 0.25 + 2 / 16 + 9 / 16 + 1 / 16)


@pytest.mark.parametrize("measure", [entropy, simpson, lambda *a: log_probability(a[0], torch.tensor([1, 1]), *a[1:])])
def test_gradients_are_finite_with_masked_actions(measure):
    output = torch.cat([QUARTERS, VALUE]).expand(2, -1).float().clone().requires_grad_()
    measure(output, Discrete(3), torch.stack([MASK, torch.tensor([False, True, False])])).sum().backward()
    assert output.grad.isfinite().all() and not output.grad[:, [0, 3]].any()


def test_the_score_function_estimator_equals_the_gradient_of_the_mean_reward():
    """Of a bandit: sum_a pi(a) grad log pi(a) (r_a - b) = grad sum_a pi(a) r_a, whatever the baseline b is."""
    reward, baseline = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.7
    output = QUARTERS.clone().requires_grad_()
    expected = torch.autograd.grad((output.softmax(-1) * reward).sum(), output)
    log_probs = log_probability(output.expand(3, -1), torch.arange(3), Discrete(3))
    gradient = torch.autograd.grad((QUARTERS.exp() * log_probs * (reward - baseline)).sum(), output)
    assert_close(gradient, expected)


# --- errors


def test_an_output_of_another_action_space_raises():
    with pytest.raises(
        ValueError, match=r"output has 5 numbers, want the 3 logits of Discrete\(n=3\), and at most one value"
    ):
        Sampled(Discrete(3))(torch.zeros(2, 5), None, (), seeded())
