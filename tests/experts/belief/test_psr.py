"""Predictive state representations against exact filters and against sums over hidden states by hand."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from experts import PSR, BeliefFilter, PSRFilter
from experts.belief import EXAMPLE, ImpossibleObservation, PSRModel, exact_psr, fit_psr
from tasks.pomdp import MODELS, load_model


def played(model, episodes, steps, seed=0):
    """Random actions and observations (E, T), and inputs (T, E, 1, O + A)."""
    rng = np.random.default_rng(seed)
    actions, observations = np.zeros((2, episodes, steps), dtype=int)
    states = rng.choice(len(model.start), episodes, p=model.start / model.start.sum())
    for t in range(steps):
        actions[:, t] = rng.integers(len(model.actions), size=episodes)
        states = drawn(model.transition[actions[:, t], states], rng)
        observations[:, t] = drawn(model.observation[actions[:, t], states], rng)
    one_hot = [np.eye(n)[x] for n, x in ((len(model.observations), observations), (len(model.actions), actions))]
    return actions, observations, torch.tensor(np.concatenate(one_hot, -1)).transpose(0, 1).unsqueeze(2)


def drawn(rows, rng):
    return (rng.random((len(rows), 1)) >= rows.cumsum(-1) / rows.sum(-1, keepdims=True)).sum(-1)


def fitted(model, actions, observations, **options):
    names = {"action_names": model.actions, "observation_names": model.observations}
    return fit_psr(actions, observations, **names, **options)


def expected(model, beliefs):
    """The filter's probabilities of each observation after each action."""
    moved = torch.einsum("...s,ast->...at", beliefs, torch.tensor(model.transition))
    return torch.einsum("...at,ato->...ao", moved / moved.sum(-1, keepdim=True), torch.tensor(model.observation))


@pytest.mark.parametrize("name", MODELS)
def test_exact_predictions_are_those_of_the_filter(name):
    model = load_model(name)
    _, _, xs = played(model, 4, 40)
    psr, belief = PSRFilter(xs.shape[-1], model=exact_psr(model)), BeliefFilter(xs.shape[-1], model=model)
    qs, _ = psr.unroll(xs, psr.initial_state(xs[0]))
    beliefs, _ = belief.unroll(xs, belief.initial_state(xs[0]))
    assert_close(psr.probabilities(qs), expected(model, beliefs), rtol=0, atol=1e-10)


def test_the_state_is_the_probabilities_of_core_tests():
    model = exact_psr(EXAMPLE)
    core, x = PSRFilter(3, model=model), torch.tensor([[[0.0, 1, 1]]], dtype=torch.float64)  # hear-right, after listen
    q, _ = core(x, core.initial_state(x))
    right = 0.85  # start: .5, .5; crossing changes nothing
    heard = [0.95 * right + 0.05 * (1 - right), 0.05 * right + 0.95 * (1 - right)]  # state right and left afterwards
    hear_right = 0.85 * heard[0] + 0.15 * heard[1]
    assert q[0, 0, 0] == 1  # the empty test
    assert min(abs(q[0, 0, 1].item() - p) for p in (hear_right, 1 - hear_right)) < 1e-12


def brute_force(model, start, steps):
    """The probability of a test, by a sum over all paths of hidden states."""
    total = 0.0
    for path in product(range(len(model.start)), repeat=len(steps) + 1):
        p = start[path[0]]
        for (a, o), before, after in zip(steps, path[:-1], path[1:], strict=True):
            p *= model.transition[a, before, after] * model.observation[a, after, o]
        total += p
    return total


def test_a_product_of_operators_is_the_probability_of_a_sequence():
    model = load_model("1d")
    psr, steps = exact_psr(model), [(0, 0), (1, 0), (1, 1), (0, 0)]
    q = psr.start
    for a, o in steps:
        q = psr.operators[a, o] @ q
    assert psr.normalizer @ q == pytest.approx(brute_force(model, model.start, steps), abs=1e-12)


@pytest.mark.parametrize(("name", "length"), [("1d", 3), ("tiger.95", 2)])
def test_a_psr_fitted_to_random_steps_predicts_them(name, length):
    model = load_model(name)
    psr = fitted(model, *played(model, 10_000, 20)[:2], length=length)
    assert len(psr.start) == len(exact_psr(model).start)  # of the rank that the data show
    _, _, xs = played(model, 200, 20, seed=1)
    core, belief = PSRFilter(xs.shape[-1], model=psr), BeliefFilter(xs.shape[-1], model=model)
    got = core.probabilities(core.unroll(xs, core.initial_state(xs[0]))[0])
    beliefs, _ = belief.unroll(xs, belief.initial_state(xs[0]))
    assert (got - expected(model, beliefs)).abs().mean() < 0.01 and got.min() >= 0


def test_weights_undo_that_actions_depend_on_observations():
    """Who mostly opens a door once the same side was heard twice in a row predicts as who plays blindly."""
    model, rng = load_model("tiger.95"), np.random.default_rng(0)
    actions, observations = np.zeros((2, 20_000, 12), dtype=int)
    probabilities, state = np.zeros(actions.shape), rng.integers(2, size=len(actions))
    for t in range(12):
        sure = (observations[:, t - 1] == observations[:, t - 2]) & (t >= 2)
        policy = np.where(sure[:, None], [0.2, 0.4, 0.4], [0.6, 0.2, 0.2])
        actions[:, t] = drawn(policy, rng)
        probabilities[:, t] = policy[np.arange(len(policy)), actions[:, t]]
        state = drawn(model.transition[actions[:, t], state], rng)
        observations[:, t] = drawn(model.observation[actions[:, t], state], rng)
    _, _, xs = played(model, 200, 12, seed=1)
    belief = BeliefFilter(xs.shape[-1], model=model)
    want = expected(model, belief.unroll(xs, belief.initial_state(xs[0]))[0])
    errors = []
    for weights in (probabilities, None):
        core = PSRFilter(xs.shape[-1], model=fitted(model, actions, observations, rank=2, action_probabilities=weights))
        errors.append((core.probabilities(core.unroll(xs, core.initial_state(xs[0]))[0]) - want).abs().mean().item())
    assert errors[0] < 0.02 and errors[0] < 0.5 * errors[1]


def test_an_impossible_observation_names_action_and_observation():
    model = load_model("1d")
    core = PSRFilter(4, model=exact_psr(model))
    west, nothing, goal = [1.0, 0], [1.0, 0], [0, 1.0]
    xs = torch.tensor([nothing + west, nothing + west, goal + west]).view(3, 1, 1, 4)
    with pytest.raises(ImpossibleObservation, match=r"observation 'goal' after action 'west' .* predicts nothing 1;"):
        core.unroll(xs, core.initial_state(xs[0]))


def test_what_was_never_seen_is_impossible_and_what_is_unlikely_is_not():
    model = SimpleNamespace(**vars(EXAMPLE) | {"observations": ("hear-left", "hear-right", "hear-both")})
    actions, observations, _ = played(EXAMPLE, 1000, 5)
    psr = fitted(model, actions, observations, rank=2)
    x = torch.tensor([[[0.0, 0, 1, 1]]])  # hear-both, after listen
    core = PSRFilter(4, model=psr)
    with pytest.raises(ImpossibleObservation, match="'hear-both' after action 'listen'"):
        core(x, core.initial_state(x))
    sharp = PSRModel(psr.actions, psr.observations, psr.operators, psr.normalizer, psr.start, least=0.6)
    core, right = PSRFilter(4, model=sharp), torch.tensor([[[0.0, 1, 0, 1]]])
    q, state = core(right, core.initial_state(right))
    assert not state.impossible.any() and q.isfinite().all()
    assert core.probabilities(q)[0, 0, 0].sum() == pytest.approx(1)


def test_an_observation_alone_or_nothing_leaves_the_state():
    core = PSRFilter(3, model=exact_psr(EXAMPLE))
    x = torch.zeros(1, 1, 3, dtype=torch.float64)
    q, _ = core(x, core.initial_state(x))
    assert_close(q[0, 0], core.start)


E = np.zeros((3, 5), dtype=int)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PSR(8, 4, model=None), "core 'psr' needs the model of its task"),
        (lambda: PSR(2, 4, model=EXAMPLE), r"input_size=2, want at least 2 observations \+ 1 actions = 3"),
        (lambda: PSRModel(("a",), ("x",), np.ones((1, 1, 2, 2)), np.ones(3), np.ones(2)), r"normalizer \(3,\), want"),
        (lambda: fitted(EXAMPLE, E[:, :4], E[:, :4]), "episodes of 4 steps, want at least 5: a history of 2 steps"),
        (lambda: fitted(EXAMPLE, E + 1, E), "actions from 1 to 1, want 0 to 0, of 1 names"),
        (lambda: fitted(EXAMPLE, E, E[:2]), r"actions \(3, 5\), observations \(2, 5\), want the same"),
        (lambda: fitted(EXAMPLE, E, E / 2), "observations of float64, want integers"),
        (lambda: fitted(EXAMPLE, E, E, rank=2), "rank=2, want 1 to 1, the rank of the table"),
        (lambda: fitted(EXAMPLE, E, E, length=0), "length=0, want at least 1"),
        (lambda: fitted(EXAMPLE, E, E, action_probabilities=E * 1.0), "action_probabilities from 0.0 to 0.0"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
