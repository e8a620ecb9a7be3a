"""The Decision Transformer: a slow oracle of it, windows that slide, the return-to-go, the table of times."""

from functools import partial

import numpy as np
import pytest
import torch

from badger.testing import CORE_PROPERTIES
from badger.testing.core import UNCOMPILED
from experts import StepLayout, set_target_return, with_return_to_go
from experts.attention.decision_transformer import DecisionTransformer

OBS, ACTION, REST, WIDTH = 2, 3, 1, 8
SIZE = OBS + ACTION + 2 + REST
KINDS = {"published": {}, "sliding": {"sliding": True}}


def make(**options):
    torch.manual_seed(0)
    options = {
        "context": 4,
        "layers": 2,
        "heads": 2,
        "max_time": 9,
        "target_return": 3.0,
        "return_scale": 2.0,
    } | options
    core = DecisionTransformer(SIZE, WIDTH, layout=StepLayout(OBS, numbers=ACTION), **options).double()
    for parameter in core.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return core


def inputs(steps, batch=2, members=1, seed=0):
    xs = torch.randn(steps, batch, members, SIZE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    xs[0, ..., OBS : OBS + ACTION + 2] = 0  # an episode begins
    return xs


def stepped(core, xs, state=None):
    state, ys = core.initial_state(xs[0]) if state is None else state, []
    for x in xs:
        y, state = core(x, state)
        ys.append(y)
    return torch.stack(ys), state


def oracle(core, xs, target, band=None):
    """Outputs (T, W) of one episode: each token of each layer in a loop over the tokens that it sees.

    band: steps that a layer sees, with keys of all steps; None: the last K steps alone, encoded for each output.
    """
    w = {name: part.detach().numpy() for name, part in core.state_dict().items() if part.dtype == torch.float64}

    def linear(name, v):
        return w[f"{name}.weight"] @ v + w[f"{name}.bias"]

    def norm(name, v):
        return (v - v.mean()) / np.sqrt(v.var() + 1e-5) * w[f"{name}.weight"] + w[f"{name}.bias"]

    def encode(first, last):
        """The outputs of the states from step `first` to `last`, by step."""
        tokens = []
        for t in range(first, last + 1):
            time, x, asked = w["tokens.time.weight"][min(t, core.max_time)], xs[t], target
            for earlier in range(t):
                asked -= xs[earlier + 1, OBS + ACTION]
            state = np.concatenate([x[:OBS], x[OBS + ACTION + 1 :]])
            values = [("asked", [asked / 2.0]), ("state", state)]
            if t < last:
                values.append(("action", xs[t + 1, OBS : OBS + ACTION]))
            for kind, value in values:
                tokens.append((t, kind, norm("tokens.norm", linear(f"tokens.{kind}", np.array(value)) + time)))
        hidden = [value for _, _, value in tokens]
        row = [t + (kind == "action") for t, kind, _ in tokens]  # an action becomes known with the next observation
        for layer in range(len(core.transformer.blocks)):
            name, new = f"transformer.blocks.{layer}", []
            normed = [norm(f"{name}.norm", h) for h in hidden]
            kv = [linear(f"{name}.key_value", h) for h in normed]
            for i in range(len(tokens)):
                seen = [
                    j for j in range(i + 1)
                    if band is None or i == j or row[i] - row[j] < band - (tokens[j][1] == "action")
                ]  # fmt: skip
                read, size = [], WIDTH // 2
                for head in (slice(0, size), slice(size, WIDTH)):
                    query = linear(f"{name}.query", normed[i])[head]
                    scores = np.array([query @ kv[j][:WIDTH][head] for j in seen]) / np.sqrt(size)
                    weights = np.exp(scores - scores.max()) / np.exp(scores - scores.max()).sum()
                    read.append(sum(p * kv[j][WIDTH:][head] for p, j in zip(weights, seen, strict=True)))
                x = hidden[i] + linear(f"{name}.out", np.concatenate(read))
                inner = np.maximum(linear(f"{name}.mlp.0", norm(f"{name}.norm_within", x)), 0)
                new.append(x + linear(f"{name}.mlp.2", inner))
            hidden = new
        return {
            t: norm("transformer.norm", h) for (t, kind, _), h in zip(tokens, hidden, strict=True) if kind == "state"
        }

    steps = len(xs)
    if band is not None:
        return np.stack(list(encode(0, steps - 1).values()))
    return np.stack([encode(max(0, t - core.context + 1), t)[t] for t in range(steps)])


@pytest.mark.parametrize("kind", KINDS)
def test_outputs_are_those_of_a_slow_oracle(kind):
    core, xs = make(**KINDS[kind]), inputs(11, batch=1)
    ys, _ = stepped(core, xs)
    want = oracle(core, xs[:, 0, 0].numpy(), 3.0, core.context if core.sliding else None)
    np.testing.assert_allclose(ys[:, 0, 0].detach().numpy(), want, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("context", [1, 2, 4, 20])
def test_unrolled_and_stepped_outputs_are_equal_across_the_slide(kind, context):
    core, xs = make(context=context, **KINDS[kind]), inputs(13)
    looped, end = stepped(core, xs)
    ys, last = core.unroll(xs, core.initial_state(xs[0]))
    torch.testing.assert_close(ys, looped, atol=1e-10, rtol=0)
    more = inputs(3, seed=1)
    torch.testing.assert_close(stepped(core, more, last)[0], stepped(core, more, end)[0], atol=1e-10, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("holds", [name for name in CORE_PROPERTIES if name in UNCOMPILED])
def test_windows_that_slide_hold_the_contract(kind, holds):
    CORE_PROPERTIES[holds](partial(DecisionTransformer, context=3, layers=2, **KINDS[kind]))


def test_steps_beyond_the_table_share_one_embedding_that_begins_as_zero_and_is_counted():
    core = DecisionTransformer(SIZE, WIDTH, layout=StepLayout(OBS, numbers=ACTION), max_time=2)
    late = core.tokens.time.weight[2:]
    assert late.shape == (1, WIDTH) and not late.any()
    xs, state, shares = inputs(5).float(), None, []
    state = core.initial_state(xs[0])
    for x in xs:
        y, state = core(x, state)
        shares.append(core.metrics(state)["late"].tolist())
    assert shares == [[0, 0], [0, 0], [1, 1], [1, 1], [1, 1]]
    y.square().mul(torch.arange(WIDTH)).sum().backward()
    assert core.tokens.time.weight.grad[2].any()


def test_the_return_to_go_is_the_target_less_the_last_rewards_after_each_reset():
    core, xs = make(), inputs(6)
    reset = torch.zeros(6, 2, dtype=torch.bool)
    reset[3, 1] = True
    xs[3, 1, ..., OBS + ACTION] = 0
    _, state = core.unroll(xs, core.initial_state(xs[0]), reset)
    paid = xs[:, :, 0, OBS + ACTION].sum(0)
    paid[1] = xs[3:, 1, 0, OBS + ACTION].sum()
    torch.testing.assert_close(state.to_go.asked[:, 0], 3 - paid)
    assert state.to_go.time[:, 0].tolist() == [6, 3]
    set_target_return(core, -1.0)
    assert core.initial_state(xs[0]).to_go.asked.tolist() == [[-1], [-1]]
    begun = with_return_to_go(core.initial_state(xs[0]), torch.tensor([5.0, 6.0]), torch.tensor([2, 0]))
    assert begun.to_go.asked.tolist() == [[5], [6]] and begun.to_go.time.tolist() == [[2], [0]]
    with pytest.raises(ValueError, match="target_return=1: the agent is not asked for a return"):
        set_target_return(torch.nn.Linear(1, 1), 1)
    with pytest.raises(ValueError, match="the core is not asked for a return"):
        with_return_to_go((torch.zeros(2),), torch.zeros(2), torch.zeros(2).long())


def test_keys_and_values_are_kept_until_the_window_slides_and_no_longer():
    core, xs = make(), inputs(6)
    state, kept = core.initial_state(xs[0]), []
    for x in xs:
        _, state = core(x, state)
        kept.append(len(state.window.parts) > 1)
    assert kept == [True, True, True, False, False, False] and state.window.rows == core.context - 1
