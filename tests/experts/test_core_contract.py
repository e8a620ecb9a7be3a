"""Every core by name holds the contract, and the contract catches broken cores."""

import json
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from badger.testing import CORE_PROPERTIES, ContractError
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import D, H, N
from badger.testing.core.stepping import one_step_may_be_compiled_to_code
from experts import CORES, GRU, LSTM, Core, EpisodicMemory, Private
from experts.recurrent.gru import GRUState
from toy_memories import DrawingGRU

NO_GRADIENT = ("feedforward", "linear", "trajectory_transformer", "merlin")  # the third plans, the last stops it
MEMORYLESS = {(name, "gradient_reaches_the_first_input") for name in NO_GRADIENT}
EVERY = [(name, holds) for name in CORES for holds in CORE_PROPERTIES if holds in UNCOMPILED]
FAMILIES = ["gru", "episodic", "dnc", "ntm", "neural_memory", "gtrxl", "hcam"]  # one core of each folder of experts
ROOT = Path(__file__).resolve().parents[2]
COMPILE = """
import json
from badger.testing.core.stepping import one_step_may_be_compiled
from experts import CORES
for name, make in CORES.items():
    try:
        one_step_may_be_compiled(make)
        broken = None
    except AssertionError as error:
        broken = str(error)
    print(json.dumps([name, broken]))
"""


@pytest.mark.parametrize("name, holds", [pair for pair in EVERY if pair not in MEMORYLESS])
def test_every_core_holds_the_contract(name, holds):
    CORE_PROPERTIES[holds](CORES[name])


@pytest.fixture(scope="module")
def compiled() -> dict[str, str | None]:
    """What one process without checks of annotations, each of which is a break in the graph, says of each core."""
    done = subprocess.run([sys.executable, "-c", COMPILE], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize("name", CORES)
def test_one_step_of_every_core_may_be_compiled(name, compiled):
    assert compiled[name] is None


@pytest.mark.nightly
@pytest.mark.parametrize("name", FAMILIES)
def test_one_core_of_each_family_may_be_compiled_to_code(name):
    one_step_may_be_compiled_to_code(CORES[name])


def test_a_core_of_cores_holds_the_contract():
    inner = partial(EpisodicMemory, controller=partial(LSTM, hidden_size=H), slots=32, similarity="l2")
    check_core(
        lambda d, h: Private(EpisodicMemory(d, inner, slots=32, top_k=2, row_content="x")), properties=UNCOMPILED
    )


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
    def read_write_vectors(self, state):
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
    def cell_backward(grads, state, saved):
        to_x, _, to_state = GRU.cell_backward(grads, state, saved)
        return to_x, to_x, to_state


class NoReset(Plain):
    def unroll(self, xs, state, reset=None):
        return super().unroll(xs, state)


class Keeps(Plain):
    """Returns recorded outputs without their gradient."""

    def step_record(self, state):
        return (state.h,)

    def unroll_recorded(self, xs, records, state, reset=None):
        return records[0] + 0 * xs.sum(), {}


class Foresees(Plain):
    def unroll(self, xs, state, reset=None):
        return super().unroll(xs + xs.mean(0), state, reset)


class NeverFresh(Plain):
    def select_members(self, state, index, x):
        return super().select_members(state, index.clamp(min=0), x)


class NeverMoved(Plain):
    def select_members(self, state, index, x):
        return state


class Double(Plain):
    def losses(self, state):
        return {"loss": state.h.double().square().mean((1, 2))}


class ReadsReset(Plain):
    def unroll(self, xs, state, reset=None):
        return super().unroll(xs, state, reset if reset is not None and reset.any() else None)


class ReadsIndex(Plain):
    def select_members(self, state, index, x):
        return super().select_members(state, torch.tensor(index.tolist(), device=x.device), x)


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
        active = 1 if present is None else present.unsqueeze(-1)
        return self.gru(x + (x * active).cumsum(1) - x * active, state, present)


class Forgetful(Plain):
    def forward(self, x, state, present=None):
        return self.gru(x, GRUState(state.h.detach()), present)


class DrawsGlobally(DrawingGRU):
    def noise(self, x, key):
        return torch.randn_like(x)


class DrawsOnce(DrawingGRU):
    def unroll(self, xs, state, reset=None):
        key = state.key
        ys = []
        for x in xs:
            y, state = self(x, state._replace(key=key))
            ys.append(y)
        return torch.stack(ys), state


class IgnoresSeeds(DrawingGRU):
    def noise(self, x, key):
        return key._replace(seed=torch.ones_like(key.seed)).normal(x, x.shape[-1])


class Grows(Plain):
    def forward(self, x, state, present=None):
        y, state = self.gru(x, state, present)
        return torch.cat([y, y], -1), state


BROKEN = {
    "outputs_have_the_documented_shape": Grows,
    "sizes_are_those_asked_for": lambda d, h: Plain(d, h + 1),
    "losses_and_metrics_are_one_number_an_episode": Reports,
    "weights_are_one_row_of_slots_a_member": Reports,
    "read_write_vectors_are_one_for_each_member": TracesOne,
    "any_number_of_members_works": moved(lambda x: x.new_ones(N, 1)),
    "precision_follows_the_input": Double,
    "device_follows_the_input": moved(lambda x: torch.ones(D)),
    "rows_do_not_leak_into_each_other": moved(lambda x: x.mean(0)),
    "an_episode_does_not_leak_into_the_next": Counts,
    "a_reset_touches_only_its_rows": NoReset,
    "cell_backward_equals_autograd": Backwards,
    "the_future_cannot_change_the_past": Foresees,
    "a_step_leaves_the_old_state_as_it_was": WritesInPlace,
    "a_core_keeps_nothing_between_calls": Counts,
    "gradient_reaches_the_first_input": Forgetful,
    "detach_cuts_the_gradient_to_the_past": Counts,
    "members_permute": moved(lambda x: x.cumsum(1)),
    "absent_members_do_not_change_the_others": moved(lambda x: x.sum(1, keepdim=True)),
    "a_member_that_leaves_later_does_not_change_the_others": moved(lambda x: x.sum(1, keepdim=True)),
    "absent_members_return_their_last_output": Deaf,
    "absent_steps_are_skipped": Deaf,
    "private_equals_separate_copies": Counts,
    "members_can_be_reordered": NeverMoved,
    "members_can_leave_and_new_ones_join": RowsSecond,
    "new_members_of_an_initial_state_are_initial": NeverMoved,
    "overridden_select_members_equals_the_default": NeverFresh,
    "unroll_equals_the_loop_of_forward": NoReset,
    "unroll_recorded_equals_the_loop_of_forward": Keeps,
    "branches_of_an_old_state_are_independent": WritesInPlace,
    "episodes_of_a_state_can_be_selected": RowsSecond,
    "the_state_survives_a_save_in_mid_episode": Counts,
    "one_step_may_be_checkpointed": moved(lambda x: float(torch._C._current_graph_task_id() >= 0)),
    "several_steps_may_be_checkpointed": moved(lambda x: float(torch._C._current_graph_task_id() >= 0)),
    "one_step_may_be_compiled": moved(lambda x: float(torch.compiler.is_compiling())),
    "outputs_do_not_depend_on_the_global_generator": DrawsGlobally,
    "unrolling_draws_as_stepping_does": DrawsOnce,
    "a_copy_of_the_state_draws_the_same": Counts,
    "each_seed_draws_other_numbers": IgnoresSeeds,
    "steps_run_on_the_meta_device": moved(lambda x: x.mean().item()),
    "unrolling_runs_on_the_meta_device": ReadsReset,
    "resets_and_new_members_run_on_the_meta_device": ReadsIndex,
}


@pytest.mark.parametrize("core", [Plain, DrawingGRU])
def test_the_contract_lets_a_sound_core_pass(core):
    check_core(core)


@pytest.mark.parametrize("holds", CORE_PROPERTIES)
def test_the_contract_catches_a_broken_core(holds):
    with pytest.raises(ContractError, match=rf"(?s)^{holds}: want .*, got "):
        CORE_PROPERTIES[holds](BROKEN[holds])


def test_a_constant_on_another_device_is_caught():
    with pytest.raises(ContractError, match="no tensor on another device on the meta device, got RuntimeError"):
        check_core(moved(lambda x: torch.ones(D)), properties=["steps_run_on_the_meta_device"])


def test_a_core_whose_writes_are_ordered_may_declare_it():
    with pytest.raises(ContractError, match=r"^members_permute: want"):
        check_core(Ordered)
    check_core(Ordered, ordered=True, properties=UNCOMPILED)


def test_a_property_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match=r"properties=\['members_permut'\], want names out of outputs_have"):
        check_core(Plain, properties=["members_permut"])
