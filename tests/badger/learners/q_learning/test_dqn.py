"""DQN against a slow NumPy reference of one update: targets, Huber loss, gradient by differences, and Adam."""

import copy

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import ACTS, CORES, DQN, Agent, RepeatPrevious
from badger.act import Dueling
from badger.learners.q_learning.targets import huber
from badger.learners.schedules import LinearEpsilon
from badger.sense import Broadcast
from badger.testing.learner import a_loaded_learner_continues_exactly
from comms import Silent
from tasks import Catch
from toys import Steps, seeded, toy_agent

CATCH = Catch(rows=4, columns=3, dtype=torch.float64)
LONG = Steps(9, dtype=torch.float64)  # episodes of 1 to 9 steps, half of them truncated
GAMMA, LR, EPS = 0.9, 1e-2, 1e-8
OPTIONS = {
    "batch": 3, "horizon": 8, "gradient_steps": 1, "replay_batch": 12, "prefill": 20, "gamma": GAMMA, "clip": None,
    "lr": LR, "eps": EPS,
}  # fmt: skip


def small_agent(task, head):
    torch.manual_seed(0)
    core = CORES["feedforward"](task.obs_size, 4)
    act = ACTS[head](4, task.action_space.size)
    return Agent(
        sense=Broadcast(task.obs_size), core=core, bus=Silent(4), act=act, experts=1, identity_size=0, topology="none"
    ).double()


def dqn(task=CATCH, *, head="mean", **options):
    return DQN(small_agent(task, head), task, **OPTIONS | options)


# --- the reference


def numpy_q(weights, obs):
    """Q (D,) of one observation."""
    hidden = np.maximum(weights["core.hidden.weight"] @ obs + weights["core.hidden.bias"], 0)
    y = np.tanh(weights["core.out.weight"] @ hidden + weights["core.out.bias"])
    if "act.linear.weight" in weights:
        return weights["act.linear.weight"] @ y + weights["act.linear.bias"]
    value = weights["act.value.linear.weight"] @ y + weights["act.value.linear.bias"]
    advantage = weights["act.advantage.linear.weight"] @ y + weights["act.advantage.linear.bias"]
    return np.array([value[0] + one - sum(advantage) / len(advantage) for one in advantage])


def numpy_target(steps, agent, target, *, n, double_q):
    """The n-step target of the first step of a sequence (T + 1, ...) in NumPy."""
    total = 0.0
    for later in range(n):
        if not steps["valid"][later]:  # truncated: bootstrap from the final observation
            n = later
            break
        total += GAMMA**later * steps["reward"][later]
        if steps["terminated"][later]:
            return total
    q = numpy_q(target, steps["obs"][n])
    by = numpy_q(agent, steps["obs"][n]) if double_q else q
    return total + GAMMA**n * q[int(np.argmax(by))]


def numpy_loss(agent, sequences, wanted):
    losses = []
    for steps, y in zip(sequences, wanted, strict=True):
        error = abs(y - numpy_q(agent, steps["obs"][0])[steps["action"][0]])
        losses.append(0.5 * error**2 if error <= 1 else error - 0.5)
    return sum(losses) / len(losses)


def numpy_update(agent, loss, step=1e-6):
    """The weights after the first step of Adam: of lr g / (|g| + eps)."""
    after = copy.deepcopy(agent)
    for name, weight in agent.items():
        for at in np.ndindex(weight.shape):
            before, sides = weight[at], []
            for moved in (before + step, before - step):
                weight[at] = moved
                sides.append(loss(agent))
            weight[at] = before
            gradient = (sides[0] - sides[1]) / (2 * step)
            after[name][at] -= LR * gradient / (abs(gradient) + EPS) if abs(gradient) > 1e-9 else 0
    return after


def as_numpy(module):
    return {name: p.detach().numpy().copy() for name, p in module.named_parameters()}


@pytest.mark.parametrize("task", [CATCH, LONG], ids=["catch", "truncated"])
@pytest.mark.parametrize(("head", "double_q", "n"), [("mean", False, 1), ("mean", True, 3), ("dueling", True, 1)])
def test_an_update_equals_that_of_the_numpy_reference(task, head, double_q, n):
    learner = dqn(task, head=head, double_q=double_q, n_steps=n)
    learner.update()
    with torch.no_grad():  # another target network; values beyond the bend of the Huber loss
        for p in learner.target.parameters():
            p.mul_(-3)
    learner.updater.optimizer.state.clear()  # so that the next step is Adam's first
    rng = seeded(1)
    batch, _, _ = learner.replay_buffer.sample(12, rng.clone_state())
    fields = ("obs", "action", "reward", "terminated", "valid")
    sequences = [{name: getattr(batch.steps, name)[:, row].numpy() for name in fields} for row in range(12)]
    agent, target = as_numpy(learner.agent), as_numpy(learner.target)
    wanted = [numpy_target(steps, agent, target, n=n, double_q=double_q) for steps in sequences]
    expected = numpy_update(agent, lambda weights: numpy_loss(weights, sequences, wanted))
    metrics = learner._gradient_step(LR, rng, {})
    assert_close(metrics["loss"].item(), numpy_loss(agent, sequences, wanted))
    for name, got in as_numpy(learner.agent).items():
        np.testing.assert_allclose(got, expected[name], rtol=0, atol=1e-5)


# --- what is replayed


@pytest.mark.parametrize("n", [1, 3])
def test_each_step_of_ended_episodes_is_stored_once(n):
    learner = dqn(LONG, n_steps=n, exploration=LinearEpsilon(1.0, 1.0, 0))
    for _ in range(4):
        learner.update()
    made, running = learner.env_steps, learner.collector.builder.episode_steps
    assert len(learner.replay_buffer) == made - np.minimum(running, n).sum()
    steps = learner.replay_buffer.get(torch.arange(len(learner.replay_buffer))).steps
    assert steps.valid[0].all() and steps.valid.shape[0] == n + 1


def test_the_huber_loss_bends_at_one():
    assert huber(torch.tensor([-3.0, -1.0, 0.0, 0.5])).tolist() == [2.5, 0.5, 0.0, 0.125]


def test_dueling_values_have_the_mean_of_the_state_value():
    head, y = Dueling(4, 3).double(), torch.randn(5, 2, 4, generator=seeded(), dtype=torch.float64)
    assert_close(head(y, None, None).mean(-1), head.value(y, None, None).squeeze(-1))


def test_a_loaded_dqn_continues_exactly():
    a_loaded_learner_continues_exactly(lambda seed=0: dqn(seed=seed, n_steps=2))


class Pulled(DQN):
    """Pulls Q of the actions taken towards 0."""

    weight = 0.0

    def step_loss(self, steps, q_taken, target):
        assert steps.obs.shape[:2] == q_taken.shape
        return super().step_loss(steps, q_taken, target) + self.weight * q_taken.square()


def test_a_further_loss_of_weight_zero_changes_no_bit():
    def trained(kind, weight=0.0):
        learner = kind(small_agent(CATCH, "mean"), CATCH, **OPTIONS | {"n_steps": 2})
        learner.weight = weight
        for _ in range(3):
            learner.update()
        return torch.cat([p.detach().flatten() for p in learner.agent.parameters()])

    plain = trained(DQN)
    assert torch.equal(trained(Pulled), plain) and not torch.equal(trained(Pulled, 0.1), plain)


# --- what is refused


def test_an_agent_with_a_memory_is_refused():
    task = RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"core is a GRU, and DQN replays single steps.*--core feedforward"):
        DQN(toy_agent(task), task)


def test_experts_that_communicate_are_refused():
    agent = small_agent(CATCH, "mean")
    agent.bus = toy_agent().bus
    with pytest.raises(ValueError, match=r"talk by comms\.Attention, and DQN .*--bus silent"):
        DQN(agent, CATCH)


def test_no_steps_of_return_are_refused():
    with pytest.raises(ValueError, match="n_steps=0, want at least 1"):
        dqn(n_steps=0)
