"""Every core by name holds the contract, the contract catches broken cores, and the controllers are PyTorch's cells."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn

import contracts
from contracts import B, D, H, N, T, grads, noise, run
from experts import CORES, GRU, LSTM, Core, EpisodicMemory, Private
from experts.recurrent.gru import GRUState

PROPERTIES = {holds.__name__: holds for holds in contracts.CORE_PROPERTIES}


SLOW = {("episodic_both", "one_step_may_be_compiled")}  # two memories, one in the other
MEMORYLESS = {("feedforward", "gradient_reaches_the_first_input")}  # none does: tests/test_feedforward.py
EVERY = [
    pytest.param(name, holds, marks=[pytest.mark.slow] if (name, holds) in SLOW else [], id=f"{name}-{holds}")
    for name in CORES
    for holds in PROPERTIES
    if (name, holds) not in MEMORYLESS
]


@pytest.mark.parametrize("name, holds", EVERY)
def test_every_core_holds_the_contract(name, holds):
    PROPERTIES[holds](CORES[name])


def test_a_core_of_cores_holds_the_contract():
    inner = partial(EpisodicMemory, controller=partial(LSTM, hidden_size=H), slots=32, similarity="l2")
    for holds in contracts.CORE_PROPERTIES:
        if holds is not contracts.one_step_may_be_compiled:  # it may, and takes ten seconds
            holds(lambda d, h: Private(EpisodicMemory(d, inner, slots=32, top_k=2, keep="x")))


@pytest.mark.parametrize("name", ["neural_memory", "neural_memory_gradient", "lookup_table", "dnc", "plastic", "gru"])
def test_no_episodes_at_all_are_stepped_and_unrolled(name):
    core = CORES[name](D, H)
    xs = torch.zeros(T, 0, N, D)
    ys, state = run(core, xs)
    assert ys.shape == core.unroll(xs, core.initial_state(xs[0]))[0].shape == (T, 0, N, H)
    assert all(number.shape == (0,) for number in core.metrics(state).values())


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_a_cell_of_no_size_is_refused(cell):
    with pytest.raises(ValueError, match="hidden_size=0, want at least 1"):
        cell(D, 0)


class Plain(Core):
    """A GRU, to be broken in one place by each of the classes below."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__()
        self.gru, self.calls = GRU(input_size, hidden_size), 0
        self.input_size, self.output_size = input_size, hidden_size

    def initial_state(self, x):
        return self.gru.initial_state(x)

    def forward(self, x, state, present=None):
        return self.gru(x, state, present)


class Reports(Plain):
    def losses(self, state):
        return {"loss": state.h.square().mean()}

    def read_weights(self, state):
        return state.h[:, 0]


class TracesOne(Plain):
    def traces(self, state):
        return {"read": state.h[:1]}


class Counts(Plain):
    def forward(self, x, state, present=None):
        self.calls += 1
        return self.gru(x + self.calls, state, present)


class WritesInPlace(Plain):
    def forward(self, x, state, present=None):
        y, new = self.gru(x, state, present)
        state.h.data.copy_(new.h.data)
        return y, new


class RowsSecond(Plain):
    def initial_state(self, x):
        return self.gru.initial_state(x.transpose(0, 1))

    def forward(self, x, state, present=None):
        y, new = self.gru(x, GRUState(state.h.transpose(0, 1)), present)
        return y, GRUState(new.h.transpose(0, 1))


class Backwards(GRU):
    @staticmethod
    def retreat(grads, state, kept):
        to_x, _, to_state = GRU.retreat(grads, state, kept)
        return to_x, to_x, to_state


class NoReset(Plain):
    def unroll(self, xs, state, reset=None):
        return super().unroll(xs, state)


class Foresees(Plain):
    def unroll(self, xs, state, reset=None):
        return super().unroll(xs + xs.mean(0), state, reset)


class NeverFresh(Plain):
    def members(self, state, index, x):
        return super().members(state, index.clamp(min=0), x)


class NeverMoved(Plain):
    def members(self, state, index, x):
        return state


class Double(Plain):
    def losses(self, state):
        return {"loss": state.h.double().square().mean((1, 2))}


def moved(shift: Callable[[torch.Tensor], torch.Tensor]) -> type[Plain]:
    """A GRU whose input is moved by something that it should not know."""

    class Moved(Plain):
        def forward(self, x, state, present=None):
            return self.gru(x + shift(x), state, present)

    return Moved


class Deaf(Plain):
    def forward(self, x, state, present=None):
        return self.gru(x, state)


class Ordered(Plain):
    """Each member hears those before it."""

    def forward(self, x, state, present=None):
        there = 1 if present is None else present.unsqueeze(-1)
        return self.gru(x + (x * there).cumsum(1) - x * there, state, present)


class Forgetful(Plain):
    def forward(self, x, state, present=None):
        return self.gru(x, GRUState(state.h.detach()), present)


class Grows(Plain):
    def forward(self, x, state, present=None):
        y, state = self.gru(x, state, present)
        return torch.cat([y, y], -1), state


BROKEN = {
    "outputs_have_the_documented_shape": Grows,
    "sizes_are_those_asked_for": lambda d, h: Plain(d, h + 1),
    "losses_and_metrics_are_one_number_an_episode": Reports,
    "read_weights_are_one_row_of_slots_a_member": Reports,
    "traces_are_vectors_of_each_member": TracesOne,
    "any_number_of_members_works": moved(lambda x: x.new_ones(N, 1)),
    "precision_follows_the_input": Double,
    "device_follows_the_input": moved(lambda x: torch.ones(D)),
    "rows_do_not_leak_into_each_other": moved(lambda x: x.mean(0)),
    "an_episode_does_not_leak_into_the_next": Counts,
    "a_reset_touches_only_its_rows": NoReset,
    "a_cells_written_out_gradient_is_that_of_autograd": Backwards,
    "the_future_cannot_change_the_past": Foresees,
    "a_step_leaves_the_old_state_as_it_was": WritesInPlace,
    "a_core_keeps_nothing_between_calls": Counts,
    "gradient_reaches_the_first_input": Forgetful,
    "detaching_cuts_the_past_off": Counts,
    "members_permute": moved(lambda x: x.cumsum(1)),
    "absent_members_do_not_change_the_others": moved(lambda x: x.sum(1, keepdim=True)),
    "a_member_that_leaves_later_does_not_change_the_others": moved(lambda x: x.sum(1, keepdim=True)),
    "absent_members_give_their_last_output": Deaf,
    "an_absent_step_never_was": Deaf,
    "private_equals_separate_copies": Counts,
    "members_may_change_places": NeverMoved,
    "members_leave_and_fresh_ones_join": RowsSecond,
    "fresh_members_of_a_fresh_state_are_fresh": NeverMoved,
    "overridden_members_equal_the_default": NeverFresh,
    "unroll_equals_the_loop_of_forward": NoReset,
    "branches_of_an_old_state_do_not_meet": WritesInPlace,
    "rows_of_a_state_may_be_picked": RowsSecond,
    "the_state_survives_a_save_in_mid_episode": Counts,
    "one_step_may_be_checkpointed": moved(lambda x: float(torch._C._current_graph_task_id() >= 0)),
    "several_steps_may_be_checkpointed": moved(lambda x: float(torch._C._current_graph_task_id() >= 0)),
    "one_step_may_be_compiled": moved(lambda x: float(torch.compiler.is_compiling())),
}


def test_the_contract_lets_a_sound_core_pass():
    contracts.check_core(Plain)


@pytest.mark.parametrize("holds", PROPERTIES)
def test_the_contract_catches_a_broken_core(holds):
    with pytest.raises((AssertionError, RuntimeError)):
        PROPERTIES[holds](BROKEN[holds])


def test_a_core_whose_writes_are_ordered_may_declare_it():
    with pytest.raises(AssertionError):
        contracts.check_core(Ordered)
    contracts.check_core(Ordered, ordered=True)


def step_of(cell: nn.RNNCellBase, x: torch.Tensor, state: tuple) -> tuple:
    """One step of PyTorch's cell, seen as a core on (B, N, D)."""
    flat = [part.flatten(0, 1) for part in state]
    new = cell(x.flatten(0, 1), tuple(flat) if len(flat) > 1 else flat[0])
    parts = [part.view(B, N, H) for part in (new if isinstance(new, tuple) else (new,))]
    return parts[0], parts


CELLS = pytest.mark.parametrize("core, cell", [(GRU, nn.GRUCell), (LSTM, nn.LSTMCell)])


@CELLS
@pytest.mark.parametrize("dtype, tolerance", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_a_controller_equals_the_cell_of_pytorch(core, cell, dtype, tolerance):
    ours, theirs = core(D, H).to(dtype), cell(D, H).to(dtype)
    theirs.load_state_dict(ours.state_dict())
    xs = noise(T, B, N, D).to(dtype).requires_grad_()
    got, _ = run(ours, xs)
    state, want = ours.initial_state(xs[0]), []
    for x in xs:
        y, state = step_of(theirs, x, state)
        want.append(y)
    pairs = zip(
        [got, *grads(got, xs, *ours.parameters())],
        [torch.stack(want), *grads(torch.stack(want), xs, *theirs.parameters())],
        strict=True,
    )
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance * max(1, b.abs().max().item()))


@CELLS
def test_a_controller_takes_the_weights_of_the_cell_of_pytorch(core, cell):
    ours, theirs = core(D, H), cell(D, H)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(B, N, D, generator=torch.Generator().manual_seed(0))
    state = ours.initial_state(x)
    torch.testing.assert_close(ours(x, state)[0], step_of(theirs, x, state)[0], rtol=1e-6, atol=1e-6)
