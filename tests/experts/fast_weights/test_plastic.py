"""A plastic network equals its equations, neuron by neuron; its traces stay within bounds; its gradients are right."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from badger.learners.update import GuardedAdamW
from badger.testing.contract import close
from badger.testing.core.cases import equal_runs, grads, noise, run
from badger.testing.core.stepping import unchecked
from experts import Plastic
from experts import state as states
from experts.fast_weights.hebbian_rules import ClampedHebbFunction, PlasticMatmulFunction
from experts.fast_weights.low_rank_sum import MAX_RANK, LowRankSum
from experts.fast_weights.recorded_traces import CHUNK
from experts.kernels.library import description, library, without_kernels
from experts.recorded import record_steps

D, H, B, N, T = 2, 3, 2, 2, 6
needs_kernels = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")
FORMS = pytest.mark.parametrize(
    "options", [{"rule": rule, "modulated": numbers} for rule in ("oja", "hebb") for numbers in (False, True)], ids=str
)


def build(hidden_size: int = H, **options) -> Plastic:
    """With connections strong enough to matter, and a rate at which traces are clamped."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        core = Plastic(D, hidden_size, **{"rate": 0.5, **options}).double()
        torch.nn.init.normal_(core.w)
        torch.nn.init.normal_(core.alpha)
    return core


def inputs(seed: int = 0, steps: int = T) -> Tensor:
    return (3 * noise(steps, B, N, D, seed=seed)).requires_grad_()


def absences() -> Tensor:
    return noise(T, B, N, seed=5) > -0.5


def stepped(p: dict[str, np.ndarray], rule: str, x: np.ndarray, h: np.ndarray, trace: np.ndarray):
    """One step of one network: h (H,), trace (H, H), and the rate of each neuron."""
    size = len(h)
    new, follows, rate = np.zeros(size), np.zeros((size, size)), np.zeros(size)
    for j in range(size):
        arrives = sum(h[i] * (p["w"][i, j] + p["alpha"][i, j] * trace[i, j]) for i in range(size))
        new[j] = np.tanh(p["input_layer.weight"][j] @ x + p["input_layer.bias"][j] + arrives)
    for j in range(size):
        if "rate" in p:
            rate[j] = p["rate"]
        else:
            m = np.tanh(p["modulator.weight"][0] @ new + p["modulator.bias"][0])
            rate[j] = p["fan.weight"][j, 0] * m + p["fan.bias"][j]
            rate[j] = rate[j] if rule == "hebb" else 1 / (1 + np.exp(-rate[j]))
        for i in range(size):
            if rule == "oja":
                follows[i, j] = trace[i, j] + rate[j] * new[j] * (h[i] - new[j] * trace[i, j])
            else:
                follows[i, j] = min(max(trace[i, j] + rate[j] * h[i] * new[j], -1), 1)
    return new, follows, rate


@FORMS
def test_a_network_equals_its_equations(options):
    core, xs, present = build(**options), inputs(), absences()
    assert not present.all()
    p = {name: value.detach().numpy() for name, value in core.named_parameters()}
    ys, state = run(core, xs, present=present)
    for b in range(B):
        for n in range(N):
            h, trace, rate = np.zeros(H), np.zeros((H, H)), np.zeros(H)
            for t in range(T):
                if present[t, b, n]:
                    h, trace, rate = stepped(p, options["rule"], xs[t, b, n].detach().numpy(), h, trace)
                close(ys[t, b, n], torch.tensor(h))
            close(state.trace.dense()[b, n], torch.tensor(trace))
            close(state.rate[b, n], torch.tensor(rate.mean()))


def by_autograd(core: Plastic, xs: Tensor) -> Tensor:
    """The same in operations whose gradient torch knows."""
    h, trace, ys = xs.new_zeros(B, N, H), xs.new_zeros(B, N, H, H), []
    for x in xs:
        y = torch.tanh(core.input_layer(x) + torch.einsum("bni,bnij->bnj", h, core.w + core.alpha * trace))
        rate = core._rate(y).unsqueeze(-2)  # (B, N, 1, H)
        sent, received = h.unsqueeze(-1), y.unsqueeze(-2)
        if core.rule == "oja":
            trace = trace + rate * received * (sent - received * trace)
        else:
            trace = (trace + rate * sent * received).clamp(-1, 1)
        h = y
        ys.append(h)
    return torch.stack(ys)


@FORMS
def test_the_gradients_written_out_are_those_of_autograd(options):
    core, xs = build(**options), inputs()
    equal_runs(core, xs, run(core, xs)[0], by_autograd(core, xs))


def test_what_was_clamped_has_no_gradient_and_what_was_not_has():
    core, xs = build(rule="hebb", rate=0.9), inputs(steps=12)
    _, state = run(core, xs)
    at_the_bound = (state.trace.dense().abs() == 1).double().mean()
    assert 0.1 < at_the_bound < 0.9
    trace = (3 * noise(2, H, H)).requires_grad_()
    x, step = noise(2, 1, H, seed=1), noise(2, 1, H, seed=2)
    (grad,) = grads(ClampedHebbFunction.apply(trace, x, step), trace)
    inside = (trace + x.mT * step).abs() <= 1
    assert (grad != 0).equal(inside) and inside.any() and not inside.all()


@pytest.mark.parametrize(
    "function, shapes",
    [(PlasticMatmulFunction, [(2, 1, H), (2, H, H), (H, H)]), (ClampedHebbFunction, [(2, H, H), (2, 1, H), (2, 1, H)])],
)
def test_each_product_has_the_gradient_of_finite_differences(function, shapes):
    parts = [0.5 * noise(*shape, seed=i) for i, shape in enumerate(shapes)]
    assert torch.autograd.gradcheck(function.apply, [part.requires_grad_() for part in parts])


@FORMS
def test_a_trace_stays_within_bounds(options):
    core = build(**options)
    _, state = run(core, inputs(steps=100).detach())
    assert state.trace.dense().abs().max() <= (1 if options["rule"] == "hebb" else 3)
    assert state.trace.dense().abs().max() > 0.1


def test_a_trace_begins_anew_with_an_episode():
    core, xs = build(), inputs()
    _, state = run(core, xs)
    assert state.trace.dense().any()
    state = states.where(torch.tensor([True, False]), core.initial_state(xs[0]), state)
    trace = state.trace.dense()
    assert not trace[0].any() and trace[1].any()


def test_connections_and_plasticity_begin_small_and_positive_and_the_rate_at_a_hundredth():
    core = Plastic(D, 50)
    for weights in (core.w, core.alpha):
        assert weights.min() >= 0 and 0.009 < weights.max() <= 0.01
    assert core.rate is not None and core.rate.item() == pytest.approx(0.01)


@pytest.mark.parametrize("rule", ["oja", "hebb"])
def test_a_state_that_outlives_an_update_is_read_with_the_weights_of_after_it(rule):
    core, xs = build(rule=rule), inputs(steps=MAX_RANK + 3).detach()
    climber = GuardedAdamW(core.parameters(), lr=0.1, clip=None, betas=(0.9, 0.999))
    run(core, xs)[0].sum().backward()
    with torch.no_grad():
        _, state = run(core, xs)
        climber.step(0.1, {"loss": torch.zeros(())}, {})
        plain = state._replace(trace=LowRankSum.from_dense(state.trace.dense()))
        close(run(core, xs[:2], state)[0], run(core, xs[:2], plain)[0])


@pytest.mark.parametrize("rule, allowed", [("oja", 0.001), ("hebb", 0.15)])
def test_a_modulated_rate_begins_near_the_given_one(rule, allowed):
    core = Plastic(D, 50, rule=rule, modulated=True)
    rate = core._rate(torch.zeros(1, 1, 50))
    assert rate.shape == (1, 1, 50)
    assert rate.mean().item() == pytest.approx(0.01, abs=allowed)


def test_traces_are_kept_for_the_gradient_once_in_so_many_steps():
    """Of `MAX_RANK` steps the trace and its plastic part: what autograd alone would keep is several of these a step."""
    core, xs, saved = build(hidden_size=40), inputs(steps=3 * MAX_RANK), {}
    with torch.autograd.graph.saved_tensors_hooks(lambda x: saved.setdefault(x.data_ptr(), x), lambda x: x):
        run(core, xs)
    assert sum(x.numel() for x in saved.values() if x.shape[1:] == (40, 40)) <= 3 * 2 * B * N * 40 * 40


def test_metrics_tell_the_size_of_the_trace_and_the_rate():
    core = build()
    state = core.initial_state(torch.zeros(B, N, D).double())
    numbers = core.metrics(state._replace(trace=LowRankSum.from_dense(state.trace.dense() + 2), rate=state.rate + 0.25))
    assert numbers["trace_norm"].tolist() == [2] * B and numbers["plasticity"].tolist() == [0.25] * B


@pytest.mark.parametrize(
    "options, message",
    [
        ({"rule": "bcm"}, "rule='bcm', want one of oja, hebb"),
        ({"rate": 0.0}, "rate=0.0, want more than 0 and less than 1"),
        ({"hidden_size": 0}, "hidden_size=0, want at least 1"),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        Plastic(D, **{"hidden_size": H, **options})


@needs_kernels
def test_steps_by_kernels_without_a_graph_equal_those_by_tensor_operations():
    """Over several materializations of the traces; states in between stay valid."""
    core, xs = build(), inputs(steps=2 * MAX_RANK + 3)
    kept = []
    with torch.no_grad():
        state = core.initial_state(xs[0])
        for x in xs:
            kept.append(state)
            y, state = core(x, state)
        with without_kernels():
            want, state = run(core, xs)
        close(y, want[-1])
        for t in (5, MAX_RANK + 1, 2 * MAX_RANK + 1):
            close(core(xs[t], kept[t])[0], want[t])
        close(kept[-1].trace.dense(), run(core, xs[:-1])[1].trace.dense())


@FORMS
@pytest.mark.parametrize("block", [nullcontext, without_kernels], ids=["kernels", "tensor operations"])
def test_the_gradient_from_recorded_outputs_is_that_of_the_graph(options, block):
    """With resets, from a trace in mid-episode, over several chunks of steps, where traces are clamped."""
    core, xs = build(**options), inputs(steps=2 * CHUNK + 3)
    with torch.no_grad():
        _, state = run(core, inputs(1))
    for reset in (None, noise(len(xs), B, seed=3) > 1):
        want = core.unroll(xs, state, reset)[0]
        with block():
            ys, losses = core.unroll_recorded(xs, (want.detach(),), state, reset)
            assert not losses
            equal_runs(core, xs, ys, want)


@needs_kernels
@FORMS
def test_kernels_in_single_precision_differ_by_rounding_errors(options):
    core, xs = build(hidden_size=19, **options).float(), inputs(steps=2 * CHUNK + 3).float()
    state = core.initial_state(xs[0])
    records, results = (core.unroll(xs, state)[0].detach(),), []
    for block in (nullcontext, without_kernels):
        with block():
            ys, _ = core.unroll_recorded(xs, records, state)
            results.append(grads(ys, *core.parameters()))
    for a, b in zip(*results, strict=True):
        assert_close(a, b, rtol=1e-3, atol=1e-4 * float(b.abs().max()))


@needs_kernels
@FORMS
def test_a_network_that_is_not_finite_stays_so_and_leaves_the_others_alone(options):
    core, xs = build(**options), inputs()
    for bad in (float("nan"), float("inf")):
        state = core.initial_state(xs[0])
        records, _ = record_steps(core, xs, state)
        records[0][2, 0, 0, 1] = bad
        ys, _ = core.unroll_recorded(xs, records, state)
        (grad,) = torch.autograd.grad(ys.sum(), xs)
        assert not grad[0, 0, 0].isfinite().any()
        assert grad[:, 1].isfinite().all() and grad[:, 0, 1].isfinite().all()
