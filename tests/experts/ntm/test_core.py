"""A neural Turing machine equals its equations slot by slot, and addresses by content and by location."""

from functools import partial

import pytest
import torch

from badger.testing.contract import close
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import noise, run
from badger.testing.core.devices import DEVICES
from badger.testing.core.stepping import unchecked
from experts import GRU, LSTM, NTM, Core
from experts.ntm.addressing import HeadParams, address, shift
from oracles_ntm import Memory
from toy_memories import Unroll, inputs

D, H, B = 2, 3, 2
SLOTS, WIDTH, HEADS = 5, 3, 2


def build(**options) -> NTM:
    """With an interface that says something: gates near 0 and near 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        core = NTM(D, partial(GRU, hidden_size=H), **{"slots": SLOTS, "slot_size": WIDTH, "heads": HEADS} | options)
        torch.nn.init.normal_(core.interface.weight, std=2)
    return core.double()


def walked(core: NTM, xs: torch.Tensor, present: torch.Tensor, row: int, shifts: int) -> tuple[torch.Tensor, Memory]:
    """Controller, interface and output of ours around the oracle's memory, in one row of the batch."""
    members = xs.shape[2]
    memory = Memory(core.slots, core.slot_size, core.heads, members, shifts)
    controller, ys = core.controller.initial_state(noise(1, members, core.controller.input_size)), []
    for x, active in zip(xs[:, row], present[:, row], strict=True):
        eaten = torch.cat([x, torch.from_numpy(memory.reads).flatten(1)], -1)
        h, controller = core.controller(eaten.unsqueeze(0), controller, active.unsqueeze(0))
        memory.step(core.interface(h)[0].numpy(), active)
        ys.append(core.output(torch.cat([h[0], torch.from_numpy(memory.reads).flatten(1)], -1)))
    return torch.stack(ys), memory


@torch.no_grad()
@pytest.mark.parametrize("members, gone", [(1, False), (3, True)])
@pytest.mark.parametrize("shifts", [0, 1, 2])
def test_outputs_and_states_are_those_of_the_equations(shifts, members, gone):
    core, xs = build(max_shift=shifts), 3 * noise(8, B, members, D)
    present = noise(8, B, members, seed=5) < (0.5 if gone else 9)
    ys, state = run(core, xs, present=present)
    for row in range(B):
        want, memory = walked(core, xs, present, row, shifts)
        close(ys[:, row], want)
        close(state.memory[row], torch.from_numpy(memory.memory))
        close(state.write_weights[row], torch.from_numpy(memory.written))
        close(state.read_weights[row], torch.from_numpy(memory.weights))
        close(state.read[row], torch.from_numpy(memory.reads).flatten(1))


def test_gradients_are_those_of_finite_differences():
    core = build(slots=3, slot_size=2)
    assert torch.autograd.gradcheck(Unroll(core), (inputs(3, batch=1),), fast_mode=True)


def test_a_memory_that_members_share_holds_the_contract():
    def make(input_size: int, hidden_size: int) -> Core:
        return NTM(input_size, partial(LSTM, hidden_size=hidden_size), slots=SLOTS, slot_size=WIDTH, heads=HEADS)

    check_core(make, properties=UNCOMPILED - DEVICES.keys())  # which those of members with own memories have, too


def test_a_shift_moves_weights_around_the_circle_of_slots():
    weights = torch.tensor([[[0.0, 0.0, 1.0]]])
    assert shift(weights, torch.tensor([[[0.0, 0.0, 1.0]]])).tolist() == [[[1, 0, 0]]]
    assert shift(weights, torch.tensor([[[1.0, 0.0, 0.0]]])).tolist() == [[[0, 1, 0]]]
    assert shift(weights, torch.tensor([[[0.0, 0.5, 0.5]]])).tolist() == [[[0.5, 0, 0.5]]]


def head(gate: float, power: float = 1.0) -> HeadParams:
    """A head that looks for [1, 0], and stays where it is."""
    one = torch.ones(1, 1)
    return HeadParams(
        torch.tensor([[[1.0, 0.0]]]), 50 * one, gate * one, torch.tensor([[[0.0, 1.0, 0.0]]]), power * one
    )


def test_a_head_finds_a_slot_by_content_or_stays_where_it_was():
    memory, previous = torch.tensor([[[0.0, 2.0], [3.0, 0.0], [-1.0, 0.0]]]), torch.tensor([[[0.0, 0.0, 1.0]]])
    torch.testing.assert_close(address(head(1.0), previous, memory), torch.tensor([[[0.0, 1, 0]]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(address(head(0.0), previous, memory), previous, atol=1e-5, rtol=0)


def test_sharpening_brings_spread_weights_together():
    previous = torch.tensor([[[0.6, 0.4, 0.0]]])
    sharpened = address(head(0.0, power=2.0), previous, torch.ones(1, 3, 2))
    torch.testing.assert_close(sharpened, torch.tensor([[[0.36, 0.16, 0.0]]]) / 0.52, atol=1e-5, rtol=0)


def test_metrics_tell_gates_and_how_spread_weights_are():
    core, xs = build(), inputs(4)
    _, state = run(core, xs)
    numbers = core.metrics(state)
    close(numbers["write_content"], state.gates[..., :HEADS].mean((1, 2)))
    close(numbers["read_content"], state.gates[..., HEADS:].mean((1, 2)))
    weights = state.write_weights
    close(numbers["write_entropy"], -(weights * weights.log()).sum(-1).mean((1, 2)))
    close(core.read_weights(state), state.read_weights.mean(2))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"slots": 0}, "slots=0, want at least 1"),
        ({"slot_size": 0}, "slot_size=0, want at least 1"),
        ({"heads": 0}, "heads=0, want at least 1"),
        ({"max_shift": -1}, "max_shift=-1, want at least 0 slots"),
        ({"output_size": 0}, "output_size=0, want at least 1"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        NTM(D, partial(GRU, hidden_size=H), **options)
