"""The working memory graph equals its equations, written with loops in NumPy."""

from math import erf

import numpy as np
import pytest
import torch

from experts import WorkingMemoryGraph

D, W, S, V, HEADS = 7, 6, 3, 4, 2


def make(**options):
    torch.manual_seed(0)
    sizes = {"slots": S, "memo_size": V, "heads": HEADS, "layers": 2, "inner": 5, "factors": 2, "factor_size": 2}
    core = WorkingMemoryGraph(D, W, **sizes | options).double()
    for parameter in core.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, dtype=torch.float64)
    return core


class Oracle:
    """One member: a list of memos, oldest first, of which only those that were written exist."""

    def __init__(self, core):
        self.p = {name: part.detach().numpy() for name, part in core.named_parameters()}
        self.memos = []

    def linear(self, name, x):
        return self.p[f"{name}.weight"] @ x + self.p[f"{name}.bias"]

    def norm(self, name, x):
        scaled = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
        return scaled * self.p[f"{name}.weight"] + self.p[f"{name}.bias"]

    def layer(self, name, nodes):
        new, size = [], W // HEADS
        for node in nodes:
            read = []
            for head in range(HEADS):
                part = slice(head * size, (head + 1) * size)
                query = self.linear(f"{name}.attention.query", node)[part]
                keys = [self.linear(f"{name}.attention.key", other)[part] for other in nodes]
                scores = np.exp(np.array(keys) @ query / np.sqrt(size))
                values = [self.linear(f"{name}.attention.value", other)[part] for other in nodes]
                read.append(scores / scores.sum() @ np.array(values))
            h = self.norm(f"{name}.attention_norm", node + self.linear(f"{name}.out", np.concatenate(read)))
            inner = self.linear(f"{name}.mlp.0", h)
            inner = np.array([x * (1 + erf(x / np.sqrt(2))) / 2 for x in inner])
            new.append(self.norm(f"{name}.mlp_norm", h + self.linear(f"{name}.mlp.2", inner)))
        return new

    def step(self, x):
        kept = self.memos[-S:]
        places = range(S - len(kept), S)
        nodes = [
            self.linear("embed_memo", memo) + self.p["embed_age.weight"][place]
            for memo, place in zip(kept, places, strict=True)
        ]
        nodes += [
            self.linear("embed_core", x[4:]),
            self.linear("embed_factor", x[:2]),
            self.linear("embed_factor", x[2:4]),
        ]
        for layer in range(2):
            nodes = self.layer(f"layers.{layer}", nodes)
        y = nodes[len(kept)]
        self.memos.append(np.tanh(self.linear("memo", y)))
        return y


def test_steps_equal_the_equations():
    core, xs = make(), torch.randn(6, 1, 2, D, dtype=torch.float64)
    oracles, state = [Oracle(core), Oracle(core)], core.initial_state(xs[0])
    for x in xs:
        y, state = core(x, state)
        want = [oracle.step(row) for oracle, row in zip(oracles, x[0].numpy(), strict=True)]
        np.testing.assert_allclose(y[0].detach().numpy(), want, atol=1e-12)


def test_memos_that_are_not_written_are_not_read():
    core, x = make(), torch.randn(2, 1, D, dtype=torch.float64)
    _, state = core(x, core.initial_state(x))
    assert not state.weights[..., :S].any()
    _, state = core(x, state)
    assert (state.weights[..., : S - 1] == 0).all() and (state.weights[..., S - 1] > 0).all()
    torch.testing.assert_close(state.weights.sum(-1), torch.ones(2, 1, dtype=torch.float64))


@pytest.mark.parametrize(
    "options, message",
    [
        ({"key_size": 0}, "key_size=0"),
        ({"factors": 4}, "factors=4, factor_size=2: want .* it has 7"),
        ({"slots": 0}, "slots=0"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        make(**options)
