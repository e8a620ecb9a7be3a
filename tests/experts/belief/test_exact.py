"""The exact filter against loops in NumPy, and observations that a model excludes."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.devices import DEVICES
from experts import BeliefFilter, ExactBelief
from experts.belief import ImpossibleObservation
from tasks.pomdp import load_model

S, A, O = 6, 2, 2  # noqa: E741


def random_model(s=S, a=A, o=O, seed=0):
    rng = np.random.default_rng(seed)
    return SimpleNamespace(
        states=[f"s{i}" for i in range(s)],
        actions=[f"a{i}" for i in range(a)],
        observations=[f"o{i}" for i in range(o)],
        transition=rng.dirichlet(np.ones(s), (a, s)),
        observation=rng.dirichlet(np.ones(o), (a, s)),
        start=rng.dirichlet(np.ones(s)),
    )


def inputs(model, actions, observations, extra=0, *, dtype=torch.float64):
    """One-hot inputs (T, 1, 1, O + A + extra), -1 for none."""
    rows = torch.zeros(len(actions), 1, 1, len(model.observations) + len(model.actions) + extra, dtype=dtype)
    for t, (a, o) in enumerate(zip(actions, observations, strict=True)):
        if o >= 0:
            rows[t, 0, 0, o] = 1
        if a >= 0:
            rows[t, 0, 0, len(model.observations) + a] = 1
    return rows


def filtered(model, actions, observations):
    """The beliefs after each action and observation, by Bayes' rule, state by state."""
    belief, found = list(model.start), []
    for a, o in zip(actions, observations, strict=True):
        count = len(belief)
        joint = [
            sum(belief[s] * model.transition[a, s, t] for s in range(count)) * model.observation[a, t, o]
            for t in range(count)
        ]
        belief = [p / sum(joint) for p in joint]
        found.append(belief)
    return torch.tensor(np.array(found))


@pytest.mark.parametrize("extra", [0, 3])
def test_the_belief_is_that_of_bayes_rule(extra):
    model, rng = random_model(5, 3, 4), np.random.default_rng(1)
    actions, observations = rng.integers(3, size=12).tolist(), rng.integers(4, size=12).tolist()
    core = BeliefFilter(7 + extra, model=model)
    xs = inputs(model, actions, observations, extra)
    beliefs, _ = core.unroll(xs, core.initial_state(xs[0]))
    assert_close(beliefs[:, 0, 0], filtered(model, actions, observations), rtol=0, atol=1e-13)


def test_the_first_input_leaves_the_start_and_an_action_alone_predicts():
    model = random_model(5, 3, 4)
    core = BeliefFilter(7, model=model)
    xs = inputs(model, [-1, 1], [-1, -1])
    beliefs, _ = core.unroll(xs, core.initial_state(xs[0]))
    assert_close(beliefs[0, 0, 0], torch.tensor(model.start))
    assert_close(beliefs[1, 0, 0], torch.tensor(model.start @ model.transition[1]))


def test_scaled_inputs_have_the_same_belief():
    model = random_model()
    core, xs = BeliefFilter(O + A, model=model), inputs(model, [0, 1], [1, 0])
    same = [core.unroll(scale * xs, core.initial_state(xs[0]))[0] for scale in (1, 3)]
    assert_close(*same)


def test_an_impossible_observation_names_belief_action_and_observation():
    model = load_model("1d")
    core = BeliefFilter(4, model=model)
    xs = inputs(model, [0, 0, 0], [0, 0, 1])  # west twice, then the goal, which is in the east
    state = core.initial_state(xs[0])
    with pytest.raises(ImpossibleObservation) as error:
        core.unroll(xs, state)
    assert "observation 'goal' after action 'west' has the probability 0 under the belief (left 1)" in str(error.value)


def test_under_vmap_an_impossible_observation_is_recorded_and_raised_late():
    model = load_model("1d")
    core = BeliefFilter(4, model=model)
    xs = inputs(model, [0, 0, 0, 1], [0, 0, 1, 0])

    def play(rows):
        return core.unroll(rows, core.initial_state(rows[0]))

    beliefs, state = torch.vmap(play)(torch.stack([xs, inputs(model, [0] * 4, [0] * 4)]))
    assert_close(beliefs.sum(-1), torch.ones(2, 4, 1, 1, dtype=torch.float64))
    assert state.impossible.flatten().tolist() == [True, False]
    second, first = (type(state)(*(part[i] for part in state)) for i in (1, 0))
    core.check(second)
    assert [core.metrics(s)["impossible_observations"].item() for s in (first, second)] == [1, 0]
    with pytest.raises(ImpossibleObservation, match=r"'goal' after action 'west' .* \(left 1\)"):
        core.check(first)


def test_the_filter_alone_holds_the_contract():
    check_core(lambda d, h: BeliefFilter(d, model=random_model(h)), properties=UNCOMPILED - DEVICES.keys())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExactBelief(8, 4, model=None), "core 'exact_belief' needs the model of its task"),
        (lambda: BeliefFilter(3, model=random_model()), "input_size=3, want at least 2 observations"),
        (lambda: ExactBelief(8, 0, model=random_model()), "hidden_size=0, want at least 1"),
    ],
)
def test_a_core_without_a_model_that_fits_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
