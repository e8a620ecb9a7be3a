"""Dreamer: its returns by hand, what each part is trained on, what the policy's gradient changes, and refusals."""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import pytest
import torch
from torch.testing import assert_close

import badger
from badger import Agent, act
from badger.learners import Dreamer, returns
from badger.learners.imagination.dreamer import _running
from badger.learners.imagination.imagined import action_inputs, discounted_returns, imagine, reseeded, step_weights
from badger.learners.imagination.model_loss import observed_mask
from badger.learners.imagination.return_scale import ReturnScale
from badger.learners.offline.step_layout import step_layout
from badger.learners.q_learning.replay import Transitions
from badger.learners.q_learning.replayed import to_recording
from badger.rng import drawing_from
from badger.rollouts.recording import core_inputs
from badger.sense import Broadcast, Embedding, Scaled
from comms import Attention, Silent
from experts import GRU, RSSM, random_seeds
from experts import state as states
from tasks import Continuous, Discrete, PreviousActionReward
from toys import Steps, Walk, seeded

QUICK = {
    "train_length": 4, "overlap": 2, "imagine_steps": 3, "hidden_size": 8, "batch": 4, "horizon": 6,
    "gradient_steps": 1, "replay_batch": 4, "prefill": 4,
}  # fmt: skip


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def agent_for(task, sense=Broadcast, **options):
    with drawing_from(seeded(0)):
        core = RSSM(task.obs_size, 8, layout=step_layout(task), latent_size=2, classes=3)
        head = act.with_deviations(act.Mean(8, task.action_space.size), task.action_space)
        parts = {"sense": sense(task.obs_size), "core": core, "bus": Silent(8), "act": head}
        return Agent(**parts | {"experts": 1, "identity_size": 0} | options).double()


def dreamer(task=None, **options):
    task = PreviousActionReward(Steps(dtype=torch.float64)) if task is None else task
    return Dreamer(agent_for(task), task, **QUICK | options)


def test_returns_by_hand():
    reward, discount, value = tensor(1, 1), tensor(0.5, 0), tensor(10, 20)
    assert discounted_returns(reward, discount, value, lam=0.5).tolist() == [3.75, 1]


def test_returns_are_lambda_returns_where_ends_are_certain():
    rng = seeded(1)
    reward, value = (torch.rand(5, 3, generator=rng, dtype=torch.float64) for _ in range(2))
    terminated = torch.rand(5, 3, generator=rng) < 0.3
    want = returns.lambda_returns(reward, value, terminated, torch.zeros_like(terminated), gamma=0.9, lam=0.7)
    assert_close(discounted_returns(reward, 0.9 * ~terminated, value, lam=0.7), want)


def test_a_step_counts_by_the_probability_that_it_is_reached():
    """The first always, also where the model expects an end after it; none from the end of an episode."""
    weights = step_weights(tensor(1, 0), tensor(0.5, 0.5, 0.1).unsqueeze(-1).expand(3, 2))
    assert weights.tolist() == [[1, 0], [0.5, 0], [0.25, 0]]


def test_returns_are_divided_by_their_spread_but_never_by_less_than_1():
    scale = ReturnScale(tensor(0), 0.5)
    assert scale.value == 1
    scale.update(torch.linspace(0, 100, 101, dtype=torch.float64))
    assert scale.value == 90
    scale.update(torch.zeros(9, dtype=torch.float64))
    assert_close(scale.value, tensor(30)[0])  # 90 counts half as much
    scale.load_state_dict(ReturnScale(tensor(0), 0.5).state_dict())
    assert scale.value == 1
    unscaled = ReturnScale(tensor(0), 1.0)
    unscaled.update(torch.linspace(0, 100, 101, dtype=torch.float64))
    assert unscaled.value == 1


def test_observations_of_padding_and_ends_start_no_imagination():
    """Rows: 2 steps and a termination, then padding; a truncation; a piece of an episode that goes on."""
    valid = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0]]).T.bool()
    terminated = torch.tensor([[0, 1, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]]).T.bool()
    zeros = torch.zeros(4, 3)
    steps = Transitions(zeros.unsqueeze(-1), zeros.long(), zeros, terminated, valid, valid, None)
    assert observed_mask(steps).T.tolist() == [[True] * 3 + [False], [True] * 3 + [False], [True] * 4]
    assert _running(steps).T.tolist() == [[True, True, False, False], [True] * 3 + [False], [True] * 4]


def replayed(learner, size=16):
    learner.update()
    batch, _, _ = learner.replay_buffer.sample(size, seeded(0))
    recording = to_recording(learner.agent, batch, seeded(0), experts=1, outputs=learner.task.action_space.size)
    return batch.steps, core_inputs(learner.agent, recording)


def test_the_observation_after_a_step_holds_its_action_and_its_reward():
    """So reward and end are predicted from the state that they led to; also the last observation is stored."""
    learner = dreamer()
    steps, xs = replayed(learner)
    core, valid = learner.core, steps.valid[:-1]
    start = core.target_size
    action = torch.nn.functional.one_hot(steps.action[:-1], 3).double()
    assert_close(xs[1:, :, 0, start : start + 3][valid], action[valid])
    assert_close(xs[1:, :, 0, start + 3][valid], steps.reward[:-1][valid])
    ended = steps.terminated[:-1] & valid
    assert ended.any() and xs[1:, :, 0][ended].any(-1).all()


@pytest.mark.parametrize("kind", [Steps, Walk])
@pytest.mark.parametrize("sense", [Broadcast, lambda size: Scaled(size, power=0.0, scale=3.0)])
def test_an_imagined_action_is_read_as_a_real_one(kind, sense):
    task = PreviousActionReward(kind(dtype=torch.float64))
    agent, space = agent_for(task, sense), task.action_space
    state, _ = task.reset(3, seeded())
    action = torch.tensor([0, 2, 1]) if isinstance(space, Discrete) else tensor(0.5, -1, 2).unsqueeze(-1)
    _, step = task.step(state, action, seeded())
    x, core = agent.sense(step.obs, 1, space.size), agent.core
    want = x[..., core.target_size : core.target_size + core.action_size]
    assert_close(action_inputs(agent, task, action), want)


@pytest.mark.parametrize("kind", [Steps, Walk])
def test_the_gradient_of_the_policy_changes_the_actor_alone(kind):
    learner = dreamer(PreviousActionReward(kind(dtype=torch.float64)))
    learner.update()
    batch, _, _ = learner.replay_buffer.sample(4, seeded(0))
    state, means = learner._model_loss(batch, seeded(0))
    for parameter in [*learner.agent.parameters(), *learner.heads.parameters()]:
        parameter.grad = None
    losses = learner._imagined_losses(batch, state, seeded(0))
    learner._backward("actor", losses["actor"])
    changed = {name for name, p in learner.agent.named_parameters() if p.grad is not None and p.grad.any()}
    assert all(name.startswith(("act.", "core.out.")) for name in changed) and "core.out.0.0.weight" in changed
    assert all(parameter.grad is None for parameter in learner.heads.parameters())
    learner._backward("model", means["loss"])
    model = {name for name, p in learner.agent.named_parameters() if p.grad is not None and p.grad.any()} - changed
    assert model and not any(name.startswith(("act.", "core.out.")) for name in model)


def test_real_numbers_learn_through_the_model_and_choices_by_their_probability():
    for kind, through in [(Walk, True), (Steps, False)]:
        task = PreviousActionReward(kind(dtype=torch.float64))
        agent = agent_for(task)
        start = agent.core.initial_state(torch.zeros(5, 1, task.obs_size, dtype=torch.float64))
        imagined = imagine(agent, task, reseeded(start, seeded()), None, seeded(), steps=3)
        assert imagined.features.shape == (4, 5, 8 + 6) and len(imagined.action) == 3
        assert imagined.features.requires_grad == through


def test_imagination_draws_other_numbers_each_time():
    core = agent_for(PreviousActionReward(Steps(dtype=torch.float64))).core
    start = core.initial_state(torch.zeros(5, 1, core.input_size, dtype=torch.float64))
    seeds = [random_seeds(reseeded(start, seeded(i))) for i in (0, 1)]
    assert len({*seeds[0].flatten().tolist(), *seeds[1].flatten().tolist()}) == 10


def test_the_target_network_is_copied_in_intervals():
    learner = dreamer(target_update_interval=2)
    first = states.map(torch.clone, tuple(learner.heads.slow.parameters()))
    learner.update()
    assert all(a.equal(b) for a, b in zip(first, learner.heads.slow.parameters(), strict=True))
    learner.update()
    assert all(
        a.equal(b) for a, b in zip(learner.heads.critic.parameters(), learner.heads.slow.parameters(), strict=True)
    )


def test_each_new_sequence_is_in_the_next_batches():
    """While the buffer is drawn from at random, what has just happened is learned from at once."""
    learner = dreamer(gradient_steps=2, replay_batch=16)
    learner.update()
    assert len(learner.replay_buffer) <= 32 and learner.replay_buffer.num_new == 0


@dataclass(frozen=True)
class Bandit(Walk):
    """Episodes of one step, which terminates: the second of two arms pays 1."""

    steps: int = 1
    differentiable: ClassVar[bool] = False

    def reset(self, batch, rng):
        state, step = super().reset(batch, rng)
        return state._replace(cut=torch.zeros_like(state.cut)), step

    @property
    def action_space(self):
        return Discrete(2)

    def step(self, state, action, rng):
        state = state._replace(t=state.t + 1)
        return state, self._make_step(state, action.to(self.dtype))


@dataclass(frozen=True)
class Aim(Bandit):
    """Episodes of one step: a number near .5 is best."""

    @property
    def action_space(self):
        return Continuous(1, low=-1.0, high=1.0)

    def step(self, state, action, rng):
        state = state._replace(t=state.t + 1)
        return state, self._make_step(state, -(action[:, 0] - 0.5).square())


def test_a_policy_learns_which_arm_pays():
    options = {"lr": 0.02, "gradient_steps": 8, "horizon": 8, "replay_batch": 16, "actor_lr": 1.0, "hidden_size": 32}
    learner = dreamer(PreviousActionReward(Bandit(dtype=torch.float64)), **options)
    rewards = [float(learner.update()["return"]) for _ in range(8)]
    assert sum(rewards[-3:]) / 3 > 0.8


def test_a_policy_learns_a_number_through_the_model():
    task = PreviousActionReward(Aim(dtype=torch.float64))
    options = {"lr": 0.01, "gradient_steps": 8, "horizon": 8, "replay_batch": 16, "imagine_steps": 1, "actor_lr": 0.1}
    learner = dreamer(task, entropy_weight=0.0, **options)
    rewards = [float(learner.update()["return"]) for _ in range(16)]
    assert sum(rewards[-4:]) > 0.7 * sum(rewards[1:5])  # they are negative


@pytest.mark.parametrize("flags", [{"learner.bins": 41}, {"learner.return_decay": 1.0}, {"core.classes": 0}])
def test_any_recipe_is_learned_by_the_name_of_the_learner(flags):
    tiny = {f"learner.{name}": value for name, value in QUICK.items() if name != "batch"}
    run = badger.build_run(
        "cartpole", learner="dreamer", core="rssm", batch=4, outer_steps=2, **{"core.hidden_size": 8} | tiny | flags
    )
    assert isinstance(run.learner.task, PreviousActionReward) and run.learner.update()["finite"]
    assert run.learner.core.target_size == 2 and run.learner.core.action_size == 2


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"experts": 2}, "experts=2, want 1"),
        ({"prefill": 10, "capacity": 5}, "prefill=10, want at most capacity=5"),
        ({"actor_lr": 0.0}, "actor_lr=0.0, want a number above 0"),
        ({"continue_weight": -1.0}, "continue_weight=-1.0, want at least 0"),
        ({"imagine_steps": 0}, "imagine_steps=0, want at least 1"),
        ({"bins": 8}, "bins=8, want an odd number"),
        ({"gamma": 1.5}, "gamma=1.5, want 0 to 1"),
        ({"auxiliary": {"elbo": 1.0}}, "the core RSSM has no such auxiliary loss"),
    ],
)
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        dreamer(**options)


TASK = PreviousActionReward(Steps(dtype=torch.float64))


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"core": GRU(TASK.obs_size, 8)}, "core is a GRU, and Dreamer learns with a WorldModel, .*--core rssm"),
        ({"core": RSSM(TASK.obs_size, 8)}, "core is not told its last action in PreviousActionReward"),
        ({"experts": 2}, "has 2 experts, comms.Silent and 1 rounds of communication, .*--experts 1"),
        ({"comm_rounds": 2}, "1 experts, comms.Silent and 2 rounds"),
        ({"bus": Silent(8, 1), "core": RSSM(TASK.obs_size + 1, 8)}, "is not told its last action"),
        ({"act": act.WithCritic(act.Mean(8, 3))}, "last output is a value estimate, .*without act.WithCritic"),
        ({"sense": partial(Embedding, size=TASK.obs_size)}, "senses by sense.Embedding, .*broadcast"),
    ],
)
def test_agents_that_cannot_imagine_are_refused(changed, error):
    with pytest.raises(ValueError, match=error):
        Dreamer(agent_for(TASK, **changed), TASK)


def test_messages_are_refused():
    core = RSSM(TASK.obs_size + 4, 8, layout=step_layout(TASK))
    agent = agent_for(TASK, bus=Attention(8, 4), core=core)
    with pytest.raises(ValueError, match=r"comms\.Attention and 1 rounds of communication"):
        Dreamer(agent, TASK)
