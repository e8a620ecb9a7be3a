"""Gaussian policies: samples, clipping and log-probabilities."""

from math import erf, exp, log, pi, sqrt

import pytest
import torch
from torch.testing import assert_close

from badger import Greedy, Sampled, act
from badger.policies import gaussian
from badger.policies.policies import entropy, log_probability, simpson
from tasks import Continuous
from toys import seeded

FREE, UNIT, TWICE = Continuous(2), Continuous(2, 0.0, 1.0), Continuous(2, -1.0, 3.0)
OUTPUT = torch.tensor([0.5, -1.0, log(2), log(0.5), 9.0], dtype=torch.float64)  # means, log_std, a value


def test_a_reparameterized_action_has_a_gradient_that_leads_back_from_a_bound():
    """Numbers: beyond the upper bound, within, beyond the lower bound; a loss that grows, then one that falls."""
    mean = torch.tensor([2.0, 0.5, -2.0]).requires_grad_()
    space = Continuous(3, -1.0, 1.0)
    for slope, want in [(1.0, [1, 1, 0]), (-1.0, [0, -1, -1])]:
        action = gaussian.reparameterized(torch.cat([mean, torch.zeros(3)]), torch.zeros(3), space)
        assert action.tolist() == [1, 0.5, -1]
        (grad,) = torch.autograd.grad(slope * action.sum(), mean)
        assert grad.tolist() == want


def below(z):
    return 0.5 * (1 + erf(z / sqrt(2)))


def normal(x, mean, std):
    return exp(-0.5 * ((x - mean) / std) ** 2) / (std * sqrt(2 * pi))


def test_samples_have_the_mean_and_standard_deviation_of_the_output():
    actions, _ = Sampled(FREE)(OUTPUT.expand(20_000, -1), None, (), seeded())
    assert actions.shape == (20_000, 2)
    assert_close(actions.mean(0), OUTPUT[:2], rtol=0, atol=0.05)
    assert_close(actions.std(0), torch.tensor([2.0, 0.5], dtype=torch.float64), rtol=0.02, atol=0)


def test_actions_are_rescaled_to_the_bounds_and_clipped():
    assert Greedy(TWICE)(OUTPUT, None, (), seeded())[0].tolist() == [2.0, -1.0]
    assert Greedy(FREE)(OUTPUT, None, (), seeded())[0].tolist() == [0.5, -1.0]
    actions, _ = Sampled(UNIT)(OUTPUT.expand(1000, -1), None, (), seeded())
    assert actions.min() == 0 and actions.max() == 1 and ((actions > 0) & (actions < 1)).any()


def test_the_log_probability_is_that_of_the_normal_distribution():
    log_prob = log_probability(OUTPUT, torch.tensor([1.0, -2.0], dtype=torch.float64), FREE)
    assert_close(log_prob.item(), log(normal(1, 0.5, 2)) + log(normal(-2, -1, 0.5)))


def test_the_probability_of_a_bound_is_that_of_all_values_beyond_it():
    log_prob = log_probability(OUTPUT, torch.tensor([3.0, -1.0], dtype=torch.float64), TWICE)
    assert_close(log_prob.item(), log(1 - below((1 - 0.5) / 2)) + log(below(0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_clipped_actions_are_recognized_at_bounds_that_are_not_representable(dtype):
    space = Continuous(1, -0.1, 0.3)
    output = torch.tensor([[5.0, 0.0], [-5.0, 0.0]], dtype=dtype)
    actions, _ = Sampled(space)(output, None, (), seeded())
    assert_close(log_probability(output, actions, space).exp(), torch.ones(2, dtype=dtype), rtol=1e-4, atol=0)


def test_probabilities_of_what_may_be_drawn_add_up_to_one():
    interior = torch.linspace(-0.99999, 2.99999, 40_001, dtype=torch.float64).unsqueeze(-1)
    output, space = torch.tensor([0.5, -0.3], dtype=torch.float64), Continuous(1, -1.0, 3.0)
    density = log_probability(output.expand(40_001, -1), interior, space).exp()
    bounds = log_probability(output.expand(2, -1), torch.tensor([[-1.0], [3.0]], dtype=torch.float64), space).exp()
    assert_close((density.mean() * 2 + bounds.sum()).item(), 1.0, rtol=1e-4, atol=0)  # 2 halves


def test_entropy_and_simpson_by_hand():
    assert_close(entropy(OUTPUT, FREE).item(), sum(0.5 * log(2 * pi * exp(1) * std**2) for std in (2, 0.5)))
    assert_close(simpson(OUTPUT, FREE).item(), sum(1 / (2 * std * sqrt(pi)) for std in (2, 0.5)))


def test_the_score_function_estimator_equals_the_gradient_of_the_mean_reward():
    """E[r grad log p] = grad E[r], where r is the clipped action, by quadrature."""
    space = Continuous(1, -1.0, 1.0)
    output = torch.tensor([0.4, -0.5], dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-1, 1, 20_001, dtype=torch.float64).unsqueeze(-1)
    log_prob = log_probability(output.expand(len(x), -1), x, space)
    weight = torch.cat([torch.ones(1), torch.full((len(x) - 2,), 2 / (len(x) - 1)), torch.ones(1)]).double()
    surrogate = (weight * log_prob.detach().exp() * x.squeeze(-1) * log_prob).sum()
    gradient = torch.autograd.grad(surrogate, output)[0]
    noise = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    probability = (-0.5 * noise.square()).softmax(0)
    expected = torch.autograd.grad((probability * (output[0] + noise * output[1].exp()).clamp(-1, 1)).sum(), output)[0]
    assert_close(gradient, expected, rtol=1e-3, atol=1e-4)


def test_a_gaussian_head_has_one_log_std_for_all_outputs():
    head = act.Gaussian(act.Mean(3, 2), log_std=-1.0)
    output = head(torch.randn(4, 5, 3, generator=seeded()), None, None)
    assert output.shape == (4, 4) and (output[:, 2:] == -1).all() and head.outputs == 2
    team = act.WithCritic(act.Gaussian(act.Team(3, 2, 2)), act.Team(3, 1, 2))
    assert team(torch.randn(4, 6, 3, generator=seeded()), None, None).shape == (4, 2, 5)
    named = act.Gaussian(act.NamedOutputs(3, 2))
    assignment = named.make_assignment(torch.zeros(4, 1), 5, 3, seeded())
    assert named(torch.randn(4, 5, 3, generator=seeded()), assignment, None).shape == (4, 6)
    assert (
        torch.equal(named.output_names(assignment, 5), named.base.output_names(assignment, 5)) and named.name_size > 0
    )


def test_an_output_without_standard_deviations_raises():
    with pytest.raises(ValueError, match=r"output has 3 numbers, want 2 means of Continuous.*act\.Gaussian\(head"):
        Sampled(FREE)(torch.zeros(4, 3), None, (), seeded())
    with pytest.raises(ValueError, match="want 2 means"):
        gaussian.entropy(torch.zeros(4, 2), FREE)
