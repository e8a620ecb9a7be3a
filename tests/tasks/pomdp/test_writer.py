"""A model that is written and read is the same model."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.pomdp.library import load_model
from tasks.pomdp.model import PomdpModel
from tasks.pomdp.reader import parse_pomdp, read_pomdp
from tasks.pomdp.writer import format_pomdp, write_pomdp


@st.composite
def models(draw):
    """Small random models, named or numbered, with zeros and repeated rows."""
    a, s, o = (draw(st.integers(1, 3)) for _ in range(3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def distributions(*shape):
        weights = rng.random(shape) * (rng.random(shape) < 0.6) + 1e-3
        return weights / weights.sum(-1, keepdims=True)

    full = (a, s, s, o)
    shape = [draw(st.sampled_from([1, n])) for n in full]
    named = draw(st.booleans())
    names = [tuple(f"{kind}-{i}" if named else str(i) for i in range(n)) for kind, n in (("s", s), ("a", a), ("Q_", o))]
    reward = np.round(rng.standard_normal(shape), draw(st.integers(0, 17)))
    return PomdpModel(*names, rng.random(), distributions(a, s, s), distributions(a, s, o), reward, distributions(s))


@given(models())
def test_a_written_model_is_read_as_it_was(model):
    assert parse_pomdp(format_pomdp(model)) == model


def test_a_file_is_read_as_it_was_written(tmp_path):
    write_pomdp(load_model("shuttle"), tmp_path / "a.POMDP")
    assert read_pomdp(tmp_path / "a.POMDP") == load_model("shuttle")


def test_models_differ_where_a_number_does():
    model = load_model("tiger.95")
    assert model != dataclasses.replace(model, reward=model.reward + 1) and model != "tiger.95"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"discount": 1.5}, "discount=1.5, want a number from 0 to 1"),
        ({"states": ("a", "a")}, "states: 'a' is there twice"),
        ({"states": ("T", "b")}, "states: got the name 'T', want a letter"),
        ({"actions": ()}, "actions: none, want at least 1"),
        ({"start": np.ones(3)}, r"start \(3,\), want \(2,\)"),
        ({"start": np.ones(2)}, "start sums to 2, want 1 within 1e-05"),
        ({"reward": np.full((1, 1, 1, 1), np.nan)}, "reward has a number that is not finite: nan"),
        ({"transition": np.full((3, 2, 2), 0.4)}, "T: listen : tiger-left sums to 0.8, want 1"),
    ],
)
def test_a_model_that_is_none_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(load_model("tiger.95"), **change)
