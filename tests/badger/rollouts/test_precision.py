"""bfloat16 matrix products and torch.compile: approximately equal, or equal, to the plain step."""

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, GuessingGame, generator, initial_carry, rollout
from badger.rollouts.precision import Bf16MatmulMode, wrap_forward
from badger.testing.core.stepping import unchecked
from pairwise import each_value
from toy_learners import flat, slopes
from toys import toy_agent

CORES = ["gru", "lstm", "episodic", "episodic_shared"]


def learner(core="episodic", task=None, **options):
    task = task or GuessingGame(4, 2)
    return BPTT(toy_agent(task, core=core, port="readout").float(), task, **{"batch": 8, "clip": 1e9} | options)


@pytest.fixture
def traced():
    """torch.compile without caches and without the checks of annotations, which cannot be traced."""
    torch._dynamo.reset()
    with unchecked():
        yield
    torch._dynamo.reset()


# --- bfloat16


@pytest.mark.parametrize("core", CORES)
def test_gradients_in_bf16_are_close_to_those_in_float32(core):
    rounded, plain = learner(core, precision="bf16"), learner(core)
    assert_close(rounded.update()["loss"], plain.update()["loss"], rtol=0.02, atol=0)
    rounded_grad, plain_grad = (torch.cat([g.flatten() for g in slopes(one.agent)]) for one in (rounded, plain))
    assert not torch.equal(rounded_grad, plain_grad)
    assert (rounded_grad - plain_grad).norm() < 0.05 * plain_grad.norm()


def test_checkpointed_segments_in_bf16_are_repeated_in_bf16():
    checkpointed, plain = learner(precision="bf16", grad_checkpoint_steps=2), learner(precision="bf16")
    checkpointed.update()
    plain.update()
    assert_close(slopes(checkpointed.agent), slopes(plain.agent))


def test_an_agent_learns_in_bf16():
    learning = learner("gru", GuessingGame(4, 1), precision="bf16", lr=0.03, batch=64, clip=1.0)
    before = learning.update()["return"]
    for _ in range(60):
        metrics = learning.update()
    assert before < -0.7 and metrics["return"] > -0.1


def test_states_parameters_and_outputs_stay_float32():
    task = GuessingGame(4, 2)
    agent = wrap_forward(toy_agent(task, core="episodic").float(), precision="bf16")
    rng = generator(0, "test")
    frames, carry = rollout(agent, task, initial_carry(agent, task, 3, rng), rng, steps=2)
    numbers = [frames.output, frames.reward, carry.agent_state.y, carry.agent_state.inbox, *agent.parameters()]
    assert {number.dtype for number in numbers} == {torch.float32}


def test_matrix_products_are_those_of_rounded_numbers():
    a, b = (torch.randn(3, 3, generator=torch.Generator().manual_seed(seed)) for seed in (0, 1))
    expected = (a.bfloat16() @ b.bfloat16()).float()
    with Bf16MatmulMode():
        products = [a @ b, torch.einsum("ij,jk->ik", a, b), torch.nn.functional.linear(a, b.mT), a + b]
    for product in products[:3]:
        assert_close(product, expected, rtol=0, atol=0)
    assert torch.equal(products[3], a + b)


def test_an_unknown_precision_raises():
    with pytest.raises(ValueError, match="precision='fp8', want one of float32, bf16"):
        wrap_forward.__wrapped__(toy_agent(), precision="fp8")


# --- compiled


OPTIONS = {"bf16": {"precision": "bf16"}, "plain": {}, "segment": {"grad_checkpoint_steps": 3}}


@each_value(option=OPTIONS, core=["gru", "episodic"])
def test_a_compiled_step_gives_the_same_numbers(option, core, traced):
    options = OPTIONS[option]
    fast, plain = learner(core, compile="aot_eager", **options), learner(core, **options)
    for _ in range(2):
        assert_close(fast.update()["loss"], plain.update()["loss"])
        assert_close(slopes(fast.agent), slopes(plain.agent))
    assert fast.compile == "aot_eager"  # no fallback


def test_a_failed_compilation_warns_and_falls_back_to_the_plain_step(traced):
    @torch._dynamo.register_backend(name="broken")
    def broken(graph, inputs):
        raise RuntimeError("there is no compiler here")

    fast, plain = learner(compile="broken"), learner()
    with pytest.warns(
        UserWarning, match=r"compile='broken' failed, training continues without it: .*there is no compiler"
    ):
        fast.update()
    plain.update()
    assert torch.equal(flat(fast.agent), flat(plain.agent))
    fast.update()
    plain.update()
    assert torch.equal(flat(fast.agent), flat(plain.agent))


def test_a_learner_leaves_its_agent_as_it_was():
    learning = learner(precision="bf16", compile="aot_eager")
    assert "forward" not in vars(learning.agent)
    assert all(p is q for p, q in zip(learning.agent.parameters(), learning.rollout_agent.parameters(), strict=True))
