"""Second derivatives of every core are right, or refused in words; none is silently left out."""

import re
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor
from torch.autograd import gradgradcheck
from torch.func import functional_call, grad

from badger.testing.core.cases import noise, run
from experts import AMRL, CORES, DNC, GRU, LSTM, ClusteredMemory, Core, Plastic, Private

T, B, N, D, H = 3, 2, 2, 3, 4
REFUSAL = r"has no second derivatives \(create_graph=True\)\. .*(has|have) them"
Run = Callable[[Core, Tensor], Tensor]
SMOOTH = CORES | {
    "merlin": partial(CORES["merlin"], policy_gradient=True),  # no differences see a stopped gradient,
    "rssm": partial(CORES["rssm"], classes=0),  # or that of a choice, which is that of its probabilities
}


def build(make: Callable[[int, int], Core]) -> Core:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make(D, H).double()


def inputs() -> Tensor:
    return noise(T, B, N, D, seed=1).requires_grad_()


def stepped(core: Core, xs: Tensor) -> Tensor:
    return run(core, xs)[0]


def unrolled(core: Core, xs: Tensor) -> Tensor:
    return core.unroll(xs, core.initial_state(xs[0]))[0]


def reset(core: Core, xs: Tensor) -> Tensor:
    begins = torch.tensor([[False, False], [True, False], [False, True]])
    return core.unroll(xs, core.initial_state(xs[0]), begins)[0]


def projected(ys: Tensor) -> Tensor:
    """A linear loss: the gradient of the outputs is constant, and so is not recorded."""
    return (ys * noise(*ys.shape, seed=9)).sum()


def directional(core: Core, xs: Tensor, way: Run, *, create_graph: bool) -> Tensor:
    """The first gradient, of the input and of all parameters, in a fixed direction."""
    sources = [xs, *core.parameters()]
    first = torch.autograd.grad(projected(way(core, xs)), sources, create_graph=create_graph, materialize_grads=True)
    return sum((g * noise(*g.shape, seed=20 + i)).sum() for i, g in enumerate(first))


def differences_agree(core: Core, xs: Tensor, way: Run, step: float = 1e-5) -> None:
    """The gradient of `directional` is that of central differences, for each source by itself."""
    sources = [xs, *core.parameters()]
    second = torch.autograd.grad(directional(core, xs, way, create_graph=True), sources, materialize_grads=True)
    for i, (source, results) in enumerate(zip(sources, second, strict=True)):
        move = noise(*source.shape, seed=50 + i)
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                source.add_(move, alpha=sign * step)
                saved = source - sign * step * move
            ends.append(directional(core, xs, way, create_graph=False))
            with torch.no_grad():
                source.copy_(saved)
        want = (ends[0] - ends[1]) / (2 * step)
        torch.testing.assert_close((results * move).sum(), want, rtol=1e-4, atol=1e-5)


def gradgrad_is_right(core: Core, xs: Tensor, way: Run) -> None:
    names, values = zip(*core.named_parameters(), strict=True)

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.core = core

        def forward(self, x: Tensor) -> Tensor:
            return way(self.core, x)

    def outputs(x: Tensor, *weights: Tensor) -> Tensor:
        arguments = {f"core.{name}": value for name, value in zip(names, weights, strict=True)}
        return functional_call(Whole(), arguments, (x,))

    arguments = (xs, *(value.detach().clone().requires_grad_() for value in values))
    assert gradgradcheck(outputs, arguments, fast_mode=True, atol=1e-4)


@pytest.mark.parametrize("way", [stepped, unrolled])
@pytest.mark.parametrize("name", CORES)
def test_second_derivatives_of_a_core_are_right_or_refused(name, way):
    core, xs = build(SMOOTH[name]), inputs()
    try:
        directional(core, xs, way, create_graph=True)
    except RuntimeError as error:
        assert re.search(REFUSAL, str(error))
        return
    differences_agree(core, xs, way)
    if way is unrolled:  # of the loop it takes three times as long, and says the same
        gradgrad_is_right(core, xs, way)


RIGHT = {"gru", "lstm", "clustered", "dnc", "ntm", "feedforward", "gtrxl", "window", "plastic_modulated"}
RIGHT |= {"frmqn", "hcam", "neural_map", "relational_memory", "working_memory_graph", "merlin", "rssm", "mdn_rnn"}


@pytest.mark.parametrize("name", sorted(RIGHT))
def test_cores_of_plain_operations_refuse_nothing(name):
    core, xs = build(CORES[name]), inputs()
    assert directional(core, xs, stepped, create_graph=True).requires_grad


EXACT = {
    "dnc": lambda d, h: DNC(
        d, partial(LSTM, hidden_size=h), slots=5, slot_size=3, heads=2, masking=True, deallocation=True, sharpness=True
    ),
    "gru": GRU,
    "clustered": lambda d, h: Private(ClusteredMemory(d, partial(GRU, hidden_size=h), slots=2, threshold=2)),
    "hebb": partial(Plastic, rule="hebb"),
    "amrl": lambda d, h: AMRL(d, partial(LSTM, hidden_size=h), kind="sum"),
}


@pytest.mark.parametrize("way", [stepped, unrolled, reset])
@pytest.mark.parametrize("name", EXACT)
def test_the_forms_that_refusals_name_have_them(name, way):
    differences_agree(build(EXACT[name]), inputs(), way)


def test_of_a_dnc_some_of_whose_members_are_absent_they_are_right():
    active = torch.tensor([[True, True], [True, False]]).expand(T, B, N)
    differences_agree(build(EXACT["dnc"]), inputs(), lambda core, xs: run(core, xs, present=active)[0])


def test_where_only_the_weights_of_a_gru_are_differentiated_they_are_right():
    core, xs = build(GRU), inputs().detach()
    weight = core.weight_hh
    (first,) = torch.autograd.grad(projected(unrolled(core, xs)), weight, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), weight)
    (want,) = torch.autograd.grad(projected(stepped(core, xs)), weight, create_graph=True)
    (want,) = torch.autograd.grad(want.square().sum(), weight)
    torch.testing.assert_close(second, want, rtol=1e-9, atol=1e-12)


# Under torch.func

PLAIN = ["neural_memory", "neural_memory_gradient", "plastic", "dnc", "gru"]
IN_PLACE = ["episodic", "episodic_shared", "episodic_tagged", "lookup_table", "amrl"]


@pytest.mark.parametrize("name", PLAIN)
def test_under_torch_func_cores_have_them_that_refuse_them_elsewhere(name, step: float = 1e-5):
    core, xs, move = build(CORES[name]), inputs().detach(), noise(T, B, N, D, seed=3)
    first = grad(lambda x: projected(stepped(core, x)))
    got = grad(lambda x: (first(x) * move).sum())(xs)
    want = (first(xs + step * move) - first(xs - step * move)) / (2 * step)
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_gradient_of_torch_func_inside_another_is_refused(name):
    core, xs = build(CORES[name]), inputs().detach()
    first = grad(lambda x: projected(stepped(core, x)))
    with pytest.raises(RuntimeError, match=REFUSAL):
        grad(lambda x: first(x).sum())(xs)


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_gradient_of_torch_func_inside_autograd_is_right_or_refused(name, step: float = 1e-5):
    """For each weight by itself: not every one has a share in what is written in place."""
    core, xs, refused = build(CORES[name]), inputs(), 0

    def first() -> Tensor:
        return grad(lambda x: projected(stepped(core, x)))(xs).square().sum()

    once = first()
    for weight in core.parameters():
        try:
            (results,) = torch.autograd.grad(once, weight, retain_graph=True, materialize_grads=True)
        except RuntimeError as error:
            assert re.search(REFUSAL, str(error))
            refused += 1
            continue
        move, saved = noise(*weight.shape, seed=4), weight.detach().clone()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                weight.copy_(saved + sign * step * move)
            ends.append(first().detach())
        with torch.no_grad():
            weight.copy_(saved)
        torch.testing.assert_close((results * move).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-4, atol=1e-6)
    assert refused


@pytest.mark.parametrize("name", IN_PLACE)
def test_a_first_gradient_by_torch_func_is_that_of_autograd(name):
    """Also where autograd records the parameters meanwhile."""
    core, xs = build(CORES[name]), inputs()
    got = grad(lambda x: projected(stepped(core, x)))(xs.detach())
    (want,) = torch.autograd.grad(projected(stepped(core, xs)), xs)
    torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)
