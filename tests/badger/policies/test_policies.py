"""Choices: how they are drawn, and how likely they were, worked out by hand."""

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
SIDE = torch.cat([torch.tensor([0.75, 0.25], dtype=torch.float64).log() + 7, QUARTERS - 3])  # logits know no scale
VALUE = torch.tensor([9.0], dtype=torch.float64)
LEGAL = torch.tensor([False, True, True])


def shares(action, output, legal=None, draws=20_000):
    """How often each choice is drawn."""
    legal = None if legal is None else legal.expand(draws, -1)
    drawn = Sampled(action)(output.expand(draws, -1), legal, seeded())
    return torch.stack([(drawn == i).double().mean(0) for i in range(3)])


# --- drawing


def test_a_choice_is_drawn_as_often_as_it_is_likely():
    assert_close(shares(Discrete(3), QUARTERS), QUARTERS.exp(), rtol=0, atol=0.01)


def test_each_of_several_choices_is_drawn_as_often_as_it_is_likely():
    first, second = shares(PAIR, SIDE).T
    assert_close(first, torch.tensor([0.75, 0.25, 0.0]).double(), rtol=0, atol=0.01)
    assert_close(second, QUARTERS.exp(), rtol=0, atol=0.01)


def test_choices_are_drawn_independently():
    drawn = Sampled(PAIR)(SIDE.expand(20_000, -1), None, seeded())
    both = ((drawn[:, 0] == 0) & (drawn[:, 1] == 0)).double().mean()
    assert_close(both.item(), 0.75 * 0.5, rtol=0, atol=0.01)


def test_what_is_not_legal_is_never_drawn():
    assert_close(shares(Discrete(3), QUARTERS, LEGAL), torch.tensor([0, 0.5, 0.5]).double(), rtol=0, atol=0.01)


def test_the_generator_alone_tells_what_is_drawn():
    draws = [Sampled(Discrete(3))(QUARTERS.expand(50, -1), None, seeded(seed)) for seed in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1]) and not torch.equal(draws[0], draws[2])


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("action", "output", "shape"), [(Discrete(3), QUARTERS, (4,)), (PAIR, SIDE, (4, 2))])
def test_actions_are_integers_with_or_without_a_value_behind_the_logits(policy, action, output, shape):
    chosen = [
        POLICIES[policy](action)(out.expand(4, -1), None, seeded()) for out in (output, torch.cat([output, VALUE]))
    ]
    assert torch.equal(*chosen) and chosen[0].shape == shape and chosen[0].dtype == torch.long


def test_the_greedy_choose_the_likeliest_that_is_legal():
    output = torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]])
    assert Greedy(Discrete(3))(output, None, seeded()).tolist() == [0, 1]
    assert Greedy(Discrete(3))(output, LEGAL.expand(2, -1), seeded()).tolist() == [2, 1]
    assert Greedy(PAIR)(torch.cat([output[:, :2], output], -1), None, seeded()).tolist() == [[0, 0], [1, 1]]


@pytest.mark.parametrize("policy", POLICIES)
def test_where_numbers_are_not_finite_something_is_chosen(policy):
    output = torch.tensor([[float("nan")] * 3, [float("inf"), 0, 0]])
    chosen = POLICIES[policy](Discrete(3))(output, None, seeded())
    assert ((chosen >= 0) & (chosen < 3)).all()


# --- how likely


def test_the_log_probability_is_that_of_the_softmax():
    output = torch.cat([QUARTERS + 4, VALUE]).expand(2, 3, -1)
    chosen = torch.tensor([[0, 1, 2], [2, 0, 0]])
    wanted = [[log(0.5), log(0.25), log(0.25)], [log(0.25), log(0.5), log(0.5)]]
    assert_close(log_probability(output, chosen, Discrete(3)), torch.tensor(wanted, dtype=torch.float64))


def test_log_probabilities_of_several_choices_add_up():
    told = log_probability(SIDE.expand(2, -1), torch.tensor([[0, 0], [1, 2]]), PAIR)
    assert_close(told, torch.tensor([log(0.75 * 0.5), log(0.25 * 0.25)], dtype=torch.float64))


def test_the_legal_share_all_probability():
    told = log_probability(QUARTERS, torch.tensor(1), Discrete(3), LEGAL)
    assert_close(told.item(), log(0.5))


def test_entropy_by_hand():
    quarters = 0.5 * log(2) + 0.5 * log(4)
    assert_close(entropy(QUARTERS, Discrete(3)).item(), quarters)
    assert_close(entropy(QUARTERS, Discrete(3), LEGAL).item(), log(2))
    assert_close(entropy(SIDE, PAIR).item(), quarters + 0.75 * log(4 / 3) + 0.25 * log(4))


def test_simpson_by_hand():
    assert_close(simpson(torch.cat([QUARTERS, VALUE]), Discrete(3)).item(), 0.25 + 2 / 16)
    assert_close(simpson(QUARTERS, Discrete(3), LEGAL).item(), 0.5)
    assert_close(simpson(SIDE, PAIR).item(), 0.25 + 2 / 16 + 9 / 16 + 1 / 16)


@pytest.mark.parametrize("measure", [entropy, simpson, lambda *a: log_probability(a[0], torch.tensor([1, 1]), *a[1:])])
def test_gradients_are_numbers_where_something_is_not_legal(measure):
    output = torch.cat([QUARTERS, VALUE]).expand(2, -1).float().clone().requires_grad_()
    measure(output, Discrete(3), torch.stack([LEGAL, torch.tensor([False, True, False])])).sum().backward()
    assert output.grad.isfinite().all() and not output.grad[:, [0, 3]].any()


def test_the_gradient_of_log_probabilities_is_that_of_the_mean_reward():
    """Of a bandit: sum_a pi(a) grad log pi(a) (r_a - b) = grad sum_a pi(a) r_a, whatever the baseline b is."""
    reward, baseline = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64), 0.7
    output = QUARTERS.clone().requires_grad_()
    wanted = torch.autograd.grad((output.softmax(-1) * reward).sum(), output)
    chances = log_probability(output.expand(3, -1), torch.arange(3), Discrete(3))
    found = torch.autograd.grad((QUARTERS.exp() * chances * (reward - baseline)).sum(), output)
    assert_close(found, wanted)


# --- what is refused


def test_an_output_of_another_action_is_refused():
    with pytest.raises(ValueError, match=r"an output of 5 numbers, want the 3 logits of Discrete\(n=3\), and one more"):
        Sampled(Discrete(3))(torch.zeros(2, 5), None, seeded())
