"""The relational memory core equals its equations, written with loops in NumPy."""

import numpy as np
import pytest
import torch

from experts import RelationalMemory

D, H, S, W, HEADS = 3, 5, 3, 4, 2


def make(**options):
    torch.manual_seed(0)
    core = RelationalMemory(D, H, **{"slots": S, "slot_size": W, "heads": HEADS} | options).double()
    for parameter in core.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, dtype=torch.float64)
    return core


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


class Oracle:
    def __init__(self, core):
        self.p = {name: part.detach().numpy() for name, part in core.named_parameters()}
        self.memory = np.eye(S, W)

    def linear(self, name, x):
        return self.p[f"{name}.weight"] @ x + self.p.get(f"{name}.bias", 0)

    def norm(self, name, x):
        scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return scaled * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def step(self, x):
        row = self.linear("embed", x)
        rows, new, size = [*self.memory, row], [], W // HEADS
        for slot in self.memory:
            read = []
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                query = self.linear("attention.query", slot)[part]
                scores = np.array([query @ self.linear("attention.key", other)[part] for other in rows]) / np.sqrt(size)
                weights = np.exp(scores) / np.exp(scores).sum()
                read.append(weights @ np.array([self.linear("attention.value", other)[part] for other in rows]))
            attended = self.norm("attention_norm", slot + np.concatenate(read))
            inner = self.linear("mlp.2", np.maximum(self.linear("mlp.0", attended), 0))
            proposed = self.norm("mlp_norm", attended + inner)
            gates = sigmoid(self.linear("gate_of_input", row) + self.linear("gate_of_memory", np.tanh(slot)))
            new.append(gates[W:] * slot + gates[:W] * np.tanh(proposed))
        self.memory = np.stack(new)
        return self.linear("output", self.memory.flatten())


def test_steps_equal_the_equations():
    core, xs = make(), torch.randn(4, 2, 2, D, dtype=torch.float64)
    oracles = [Oracle(core) for _ in range(4)]
    state = core.initial_state(xs[0])
    for x in xs:
        y, state = core(x, state)
        want = [oracle.step(row) for oracle, row in zip(oracles, x.flatten(0, 1).numpy(), strict=True)]
        np.testing.assert_allclose(y.flatten(0, 1).detach().numpy(), want, atol=1e-12)


def test_at_first_slots_are_kept_rather_than_overwritten():
    core = RelationalMemory(D, H, slots=S, slot_size=W, heads=HEADS)
    write, keep = core.gate_of_input.bias.chunk(2)
    assert (write == 0).all() and (keep == 1).all()


def test_a_memory_may_have_more_slots_than_numbers_in_a_slot():
    core = RelationalMemory(D, H, slots=6, slot_size=4, heads=2)
    x = torch.randn(2, 1, D)
    memory = core.initial_state(x).memory
    assert memory.shape == (2, 1, 6, 4) and memory[0, 0, :4].equal(torch.eye(4)) and not memory[0, 0, 4:].any()


@pytest.mark.parametrize(
    "options, message", [({"slot_size": 5}, "slot_size=5, want a multiple of heads=2"), ({"slots": 0}, "slots=0")]
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
