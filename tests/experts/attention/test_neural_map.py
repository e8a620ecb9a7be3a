"""A neural map equals a dictionary of places; its position is found where the task names it."""

import pytest
import torch

import oracles_working as oracles
from badger import build_run
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import equal_runs, noise, run
from experts import NeuralMap

D, H, B, N, T = 5, 4, 2, 2, 8


def build(**options) -> NeuralMap:
    core = NeuralMap(D, H, position=1, map_size=3, channels=2, **options).double()
    for i, parameter in enumerate(core.parameters()):
        parameter.data = 0.5 * noise(*parameter.shape, seed=i)
    return core


@pytest.mark.parametrize("window", [None, 1, 3, 5])
def test_the_loop_equals_a_dictionary_of_places(window):
    core, xs = build(window=window), noise(T, B, N, D).requires_grad_()
    reset, present = torch.zeros(T, B, dtype=torch.bool), noise(T, B, N, seed=5) > -0.5
    present[0] = True
    want = oracles.lives(lambda life: oracles.neural_map(core, life), xs, present=present)
    equal_runs(core, xs, run(core, xs, present=present)[0], want)
    reset[3, 0] = reset[5, 1] = True
    ys, _ = core.unroll(xs, core.initial_state(xs[0]), reset)
    equal_runs(core, xs, ys, oracles.lives(lambda life: oracles.neural_map(core, life), xs, reset))


@pytest.mark.parametrize(
    ("row", "column", "cell"), [(0, 0, 0), (1, 1, 8), (0.34, 0.99, 5), (-1, 0.5, 1), (7, 0.2, 6), (1 / 3, 0, 3)]
)
def test_a_step_writes_the_cell_of_the_position_alone(row, column, cell):
    core, x = build(), noise(1, 1, D)
    x[..., 1:3] = torch.tensor([row, column], dtype=torch.double)
    _, state = core(x, core.initial_state(x))
    assert state.map.flatten(2, 3).abs().sum(-1).flatten().nonzero().flatten().tolist() == [cell]
    assert core.metrics(state)["slots_used"].tolist() == [1]


def test_an_agent_is_in_the_center_of_its_own_map_and_leaves_the_past_behind():
    core, xs = build(window=3), torch.zeros(2, 1, 1, D, dtype=torch.double)
    xs[1, ..., 1] = 0.5  # from row 0 to row 1
    state, used = core.initial_state(xs[0]), []
    for x in xs:
        _, state = core(x, state)
        used.append(state.map.abs().sum(-1).flatten().nonzero().flatten().tolist())
    assert used == [[4], [1, 4]]  # rows 0 1 2, 3 4 5, 6 7 8
    xs[1, ..., 1] = 1  # two rows further the first cell is out of the map
    _, state = run(core, xs)
    assert state.map.abs().sum(-1).flatten().nonzero().flatten().tolist() == [4]


def test_an_ego_centric_map_holds_the_contract():
    """All but two of three properties on the meta device, which it shares with the map of the world."""
    shared = {"unrolling_runs_on_the_meta_device", "resets_and_new_members_run_on_the_meta_device"}
    check_core(lambda d, h: NeuralMap(d, h, map_size=3, window=5, channels=2), properties=UNCOMPILED - shared)


@pytest.mark.parametrize(
    ("window", "message"),
    [(4, "window=4, want an odd"), (0, "window=0"), (9999, "window=9999, want at most 4096")],
)
def test_a_window_without_a_center_is_refused(window, message):
    with pytest.raises(ValueError, match=message):
        NeuralMap(D, H, window=window)


def test_what_was_written_at_a_place_is_read_there_however_long_ago():
    core, xs = build(), noise(40, 1, 1, D)
    xs[:, ..., 1:3] = 0.9
    xs[0, ..., 1:3] = 0.1
    first = xs[:1].clone().requires_grad_()
    _, state = run(core, torch.cat([first, xs[1:]]))
    assert torch.autograd.grad(state.map[0, 0, 0, 0].sum(), first)[0].any()


def test_the_position_is_the_part_of_the_observation_with_that_name():
    core = build_run("labyrinth", side=2, batch=2, outer_steps=1, device="cpu").learner.agent.core
    assert core.position == 3 * 3 * 3 + 2


@pytest.mark.parametrize(("recipe", "flags"), [("t_maze", {}), ("labyrinth", {"sense": "embedding"})])
def test_without_a_position_the_error_says_what_to_do(recipe, flags):
    with pytest.raises(ValueError, match=r"finds no position: want a task whose .*'position'.*--core.position 0"):
        build_run(recipe, core="neural_map", outer_steps=1, device="cpu", **flags)


def test_the_index_of_the_position_may_be_given():
    flags = {"core.position": 1, "batch": 2, "outer_steps": 1, "device": "cpu"}
    assert build_run("cartpole", core="neural_map", velocities=True, **flags).learner.agent.core.position == 1
    with pytest.raises(ValueError, match="position=4, want the index of two of the 5 numbers"):
        NeuralMap(D, H, position=4)
