"""Actions of any space: what the agent chooses, and what the environment is given."""

from functools import partial

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple
from numpy.testing import assert_array_equal

import toy_worlds
from badger import build_run
from tasks import Continuous, Gymnasium, Mixed, to_gymnasium
from tasks import Discrete as Choice
from tasks import MultiDiscrete as Choices
from tasks.adapters.inbound.spaces.actions import ActionCodec
from toys import seeded

FLAT = Box(np.array([0, 2, 1], np.float32), np.array([0, 5, 3], np.float32))  # the first is constant
CASES = {
    "first option 1": (Discrete(3, start=1), Choice(3)),
    "int32": (Discrete(3, dtype=np.int32), Choice(3)),
    "flags": (MultiBinary(3), Choices((2, 2, 2))),
    "flags in rows": (MultiBinary((2, 2)), Choices((2,) * 4)),
    "bytes": (MultiDiscrete([3, 2], dtype=np.uint8, start=[1, 0]), Choices((3, 2))),
    "integers of a box": (Box(-1, 2, (2,), np.int16), Choices((4, 4))),
    "many integers": (Box(0, 1000, (2,), np.int32), Continuous(2, 0.0, 1000.0)),
    "float64": (Box(-1, 1, (2, 1), np.float64), Continuous(2, -1.0, 1.0)),
    "a number without axes": (Box(-1, 1, (), np.float32), Continuous(1, -1.0, 1.0)),
    "a constant number": (FLAT, Continuous(2, -1.0, 1.0)),
    "constant": (Box(2, 2, (2,), np.float32), Choice(1)),
    "no bounds": (Box(-3e38, 3e38, (1,)), Continuous(1)),
    "tuple": (Tuple((Discrete(2), MultiDiscrete([2, 3]), MultiBinary(1))), Choices((2, 2, 3, 2))),
    "nested": (
        Dict(arm=Dict(grip=Discrete(2, start=5), turn=Discrete(3)), say=Tuple((Discrete(4),))),
        Choices((2, 3, 4)),
    ),
    "dict of numbers": (Dict(gas=Box(0, 1, (1,)), wheel=Box(-2, 2, (2,))), Continuous(3, -1.0, 1.0)),
    "a constant beside choices": (Tuple((Discrete(2), Box(1, 1, (1,)))), Choice(2)),
    "numbers beside choices": (
        Tuple((Discrete(3, start=1), Box(-1, 1, (2,)), MultiBinary(1))),
        Mixed(Choices((3, 2)), Continuous(2, -1.0, 1.0)),
    ),
    "a dict of both": (
        Dict(go=Box(0, 5, (1,), np.float64), jump=Discrete(2)),
        Mixed(Choices((2,)), Continuous(1, 0.0, 5.0)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_every_action_is_one_of_the_space_in_its_structure_and_dtype(name):
    space, wanted = CASES[name]
    task = Gymnasium(partial(toy_worlds.Choosing, space), steps=9)  # asserts that the space contains the action
    assert task.action_space == wanted
    rng = seeded()
    state, _ = task.reset(3, rng)
    for _ in range(4):
        state, _ = task.step(state, random_action(wanted, rng), rng)


def random_action(space, rng):
    match space:
        case Continuous(size=size):
            return torch.randn(3, size, generator=rng) * 3
        case Choice(n=n):
            return torch.randint(n, (3,), generator=rng)
        case Choices(nvec=nvec):
            return torch.stack([torch.randint(n, (3,), generator=rng) for n in nvec], -1)
        case Mixed(choices=choices, numbers=numbers):
            return torch.cat([random_action(choices, rng), random_action(numbers, rng)], -1)


@pytest.mark.parametrize("name", CASES)
def test_actions_go_through_a_world_of_a_task_of_a_world(name):
    """The innermost world receives what it would receive from the task of it alone."""
    space, wanted = CASES[name]
    worlds = [[], []]

    def make(made):
        made.append(toy_worlds.Choosing(space))
        return made[-1]

    task, inner = (Gymnasium(partial(make, made), steps=9) for made in worlds)
    through = Gymnasium(partial(to_gymnasium, inner), steps=9)
    assert through.action_space == wanted
    for one in (task, through):
        state, rng = one.reset(1, seeded())[0], seeded(1)
        for _ in range(3):
            state, _ = one.step(state, random_action(wanted, rng)[:1], rng)
    alone, behind = (next(world for world in made if hasattr(world, "last")).last for made in worlds)
    assert str(alone) == str(behind)


@pytest.mark.parametrize("name", CASES)
def test_every_space_is_trained_on(name):
    run = build_run(
        "gymnasium", env=f"spaces_{list(CASES).index(name)}:make", batch=2, outer_steps=1, steps=9, device="cpu",
        **{"core.hidden_size": 4, "learner.horizon": 8},
    )  # fmt: skip
    assert run.learner.update()["finite"]


@pytest.fixture(autouse=True)
def modules(monkeypatch):
    """Modules `spaces_0`, `spaces_1` ... whose function `make` makes an environment of each space."""
    import sys
    from types import SimpleNamespace

    for i, (space, _) in enumerate(CASES.values()):
        monkeypatch.setitem(sys.modules, f"spaces_{i}", SimpleNamespace(make=partial(toy_worlds.Choosing, space)))


def test_choices_reach_the_parts_they_belong_to():
    codec = ActionCodec(CASES["nested"][0], "Toy")
    first, second = codec.to_env(np.array([[1, 2, 3], [0, 0, 0]]))
    assert first == {"arm": {"grip": 6, "turn": 2}, "say": (3,)}
    assert second == {"arm": {"grip": 5, "turn": 0}, "say": (0,)}


def test_numbers_are_scaled_to_the_bounds_of_their_part_and_constants_stay():
    codec = ActionCodec(FLAT, "Toy")
    assert_array_equal(codec.to_env(np.array([[-1.0, 0], [1, 9]])), [[0, 2, 2], [0, 5, 3]])


def test_choices_and_numbers_reach_the_parts_they_belong_to():
    codec = ActionCodec(CASES["numbers beside choices"][0], "Toy")
    (choice, numbers, flag), _ = codec.to_env(np.array([[2.0, 1.0, 0.25, -7], [0, 0, 0, 0]]))
    assert choice == 3 and flag.tolist() == [1] and (choice.dtype, flag.dtype) == (np.int64, np.int8)
    assert_array_equal(numbers, np.array([0.25, -1], np.float32))


def test_a_mask_is_for_the_choices_beside_numbers():
    codec = ActionCodec(CASES["numbers beside choices"][0], "Toy")
    assert_array_equal(codec.flat_mask((np.array([1, 0, 1]), None, None)), [1, 0, 1, 1, 1])


@pytest.mark.parametrize("learner", ["drqn", "r2d2"])
def test_learners_of_values_refuse_numbers_beside_choices(learner):
    name = f"spaces_{list(CASES).index('a dict of both')}:make"
    with pytest.raises(ValueError, match=r"actions are Mixed.*learns tasks.Discrete only"):
        build_run("gymnasium", env=name, learner=learner, device="cpu")


def test_masks_have_the_structure_of_the_space_or_are_flat():
    codec = ActionCodec(Dict(a=Discrete(2), b=Tuple((MultiDiscrete([2, 3]), MultiBinary(2)))), "Toy")
    nested = {"a": np.array([0, 1]), "b": ((np.array([1, 1]), np.array([1, 0, 0])), np.array([0, 2]))}
    flat = [0, 1, 1, 1, 1, 0, 0, 1, 0, 1, 1]
    assert_array_equal(codec.flat_mask(nested), flat)
    assert_array_equal(codec.flat_mask(np.array(flat)), flat)
    assert_array_equal(codec.flat_mask({"a": np.array([0, 1])}), [0] + [1] * 10)


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="Toy received an action_mask of 3 values, want 2"):
        ActionCodec(Discrete(2), "Toy").flat_mask(np.ones(3))


REFUSED = {
    "text": (Dict(say=Text(3)), r"Toy: action\['say'\] has the space Text.*want Discrete, .*TransformAction"),
    "graph": (Tuple((Discrete(2), Graph(Discrete(2), None))), r"Toy: action\[1\] has the space Graph"),
    "sequence": (Sequence(Discrete(2)), r"Toy: action has the space Sequence"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_chosen_is_named(name):
    space, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        ActionCodec(space, "Toy")
