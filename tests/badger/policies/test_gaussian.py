"""Real numbers as actions: drawn, cut to their bounds, and as likely as they are."""

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
OUTPUT = torch.tensor([0.5, -1.0, log(2), log(0.5), 9.0], dtype=torch.float64)  # means, logarithms, a value


def below(z):
    return 0.5 * (1 + erf(z / sqrt(2)))


def normal(x, mean, std):
    return exp(-0.5 * ((x - mean) / std) ** 2) / (std * sqrt(2 * pi))


def test_what_is_drawn_has_the_mean_and_the_spread_that_the_output_says():
    drawn = Sampled(FREE)(OUTPUT.expand(20_000, -1), None, seeded())
    assert drawn.shape == (20_000, 2)
    assert_close(drawn.mean(0), OUTPUT[:2], rtol=0, atol=0.05)
    assert_close(drawn.std(0), torch.tensor([2.0, 0.5], dtype=torch.float64), rtol=0.02, atol=0)


def test_an_output_is_in_halves_of_the_range_and_cut_to_it():
    assert Greedy(TWICE)(OUTPUT, None, seeded()).tolist() == [2.0, -1.0]
    assert Greedy(FREE)(OUTPUT, None, seeded()).tolist() == [0.5, -1.0]
    drawn = Sampled(UNIT)(OUTPUT.expand(1000, -1), None, seeded())
    assert drawn.min() == 0 and drawn.max() == 1 and ((drawn > 0) & (drawn < 1)).any()


def test_the_log_probability_is_that_of_the_normal_distribution():
    told = log_probability(OUTPUT, torch.tensor([1.0, -2.0], dtype=torch.float64), FREE)
    assert_close(told.item(), log(normal(1, 0.5, 2)) + log(normal(-2, -1, 0.5)))


def test_a_bound_is_as_likely_as_all_that_lies_beyond():
    told = log_probability(OUTPUT, torch.tensor([3.0, -1.0], dtype=torch.float64), TWICE)
    assert_close(told.item(), log(1 - below((1 - 0.5) / 2)) + log(below(0)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_that_are_not_round_are_known_again(dtype):
    action = Continuous(1, -0.1, 0.3)
    output = torch.tensor([[5.0, 0.0], [-5.0, 0.0]], dtype=dtype)
    drawn = Sampled(action)(output, None, seeded())
    assert_close(log_probability(output, drawn, action).exp(), torch.ones(2, dtype=dtype), rtol=1e-4, atol=0)


def test_probabilities_of_what_may_be_drawn_add_up_to_one():
    inside = torch.linspace(-0.99999, 2.99999, 40_001, dtype=torch.float64).unsqueeze(-1)
    output, action = torch.tensor([0.5, -0.3], dtype=torch.float64), Continuous(1, -1.0, 3.0)
    density = log_probability(output.expand(40_001, -1), inside, action).exp()
    ends = log_probability(output.expand(2, -1), torch.tensor([[-1.0], [3.0]], dtype=torch.float64), action).exp()
    assert_close((density.mean() * 2 + ends.sum()).item(), 1.0, rtol=1e-4, atol=0)  # 2 halves


def test_entropy_and_simpson_by_hand():
    assert_close(entropy(OUTPUT, FREE).item(), sum(0.5 * log(2 * pi * exp(1) * std**2) for std in (2, 0.5)))
    assert_close(simpson(OUTPUT, FREE).item(), sum(1 / (2 * std * sqrt(pi)) for std in (2, 0.5)))


def test_the_gradient_of_log_probabilities_is_that_of_the_mean_reward():
    """E[r grad log p] = grad E[r], where r is what was done, cut to its bounds: by quadrature."""
    action = Continuous(1, -1.0, 1.0)
    output = torch.tensor([0.4, -0.5], dtype=torch.float64, requires_grad=True)
    x = torch.linspace(-1, 1, 20_001, dtype=torch.float64).unsqueeze(-1)
    chance = log_probability(output.expand(len(x), -1), x, action)
    weight = torch.cat([torch.ones(1), torch.full((len(x) - 2,), 2 / (len(x) - 1)), torch.ones(1)]).double()
    surrogate = (weight * chance.detach().exp() * x.squeeze(-1) * chance).sum()
    found = torch.autograd.grad(surrogate, output)[0]
    noise = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    share = (-0.5 * noise.square()).softmax(0)
    wanted = torch.autograd.grad((share * (output[0] + noise * output[1].exp()).clamp(-1, 1)).sum(), output)[0]
    assert_close(found, wanted, rtol=1e-3, atol=1e-4)


def test_a_port_tells_one_spread_for_all_its_outputs():
    port = act.Gaussian(act.Mean(3, 2), log_std=-1.0)
    output = port(torch.randn(4, 5, 3, generator=seeded()), None, None)
    assert output.shape == (4, 4) and (output[:, 2:] == -1).all() and port.outputs == 2
    team = act.WithCritic(act.Gaussian(act.Team(3, 2, 2)), act.Team(3, 1, 2))
    assert team(torch.randn(4, 6, 3, generator=seeded()), None, None).shape == (4, 2, 5)
    named = act.Gaussian(act.NamedOutputs(3, 2))
    address = named.make_assignment(torch.zeros(4, 1), 5, 3, seeded())
    assert named(torch.randn(4, 5, 3, generator=seeded()), address, None).shape == (4, 6)
    assert torch.equal(named.output_names(address, 5), named.base.output_names(address, 5)) and named.name_size > 0


def test_an_output_without_a_spread_is_refused():
    with pytest.raises(ValueError, match=r"of 3 numbers, want the 2 means of Continuous.*act\.Gaussian\(port"):
        Sampled(FREE)(torch.zeros(4, 3), None, seeded())
    with pytest.raises(ValueError, match="want the 2 means"):
        gaussian.entropy(torch.zeros(4, 2), FREE)
