"""A2C against a reference loss that is computed step by step, for whole episodes and for running ones."""

import copy
from functools import partial

import pytest
import torch
from torch.testing import assert_close

from badger import (
    A2C,
    BPTT,
    Greedy,
    Population,
    RepeatPrevious,
    Run,
    Sampled,
    evaluate,
    generator,
    inspect_agent,
    train,
)
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import detach_carry, initial_carry
from badger.testing import check_learner
from badger.testing.learner import a_loaded_learner_continues_exactly
from tasks import Discrete, RandomSizes
from tiny_runs import load_trusted
from toy_learners import REPEAT, STEPS, LossyGRU, PerExpertRewards, agent_with_critic, flat, slopes
from toys import Steps, game, seeded, toy_agent

OPTIONS = {"batch": 4, "gamma": 0.9, "value_weight": 0.3, "entropy_weight": 0.2, "simpson_weight": 0.1, "clip": None}


def a2c(task=REPEAT, *, core="episodic", **options):
    return A2C(agent_with_critic(task, core=core), task, **OPTIONS | options)


# --- the loss and its gradient, against the reference


class Reference:
    """The loss of a learner's next update, computed step by step and row by row, with its own running episodes."""

    def __init__(self, learner):
        self.learner, self.carry = learner, None
        self.episode_reward = [0.0] * learner.batch
        self.ended = []  # returns of the episodes that ended in this rollout

    def loss(self, penalty=None):
        """The loss, and a copy of the agent with its gradient."""
        learner, task = self.learner, self.learner.task
        agent, rng = copy.deepcopy(learner.agent), generator(learner.seed, "train", learner.step)
        agent.zero_grad()
        whole = learner.horizon is None
        carry = (
            initial_carry(agent, task, learner.batch, rng) if whole or self.carry is None else detach_carry(self.carry)
        )
        left = task.steps - carry.elapsed % task.steps
        steps = task.steps if whole else min(learner.horizon, left) if task.fixed_length else learner.horizon
        frames, carry = rollout(agent, task, carry, rng, Sampled(task.action_space), steps=steps)
        last = agent(carry.step.obs, carry.agent_state, rng)[0][:, -1]
        self.carry, self.ended = carry, []
        terms = []
        for row in range(learner.batch):
            terms += self.row(
                frames, row, torch.cat([frames.output[:, row, -1], last[row : row + 1]]).detach(), penalty
            )
        loss = torch.stack(terms).mean()
        loss.backward()
        return loss.detach(), agent

    def row(self, frames, row, value, penalty):
        learner, terms = self.learner, []
        over = frames.terminated[:, row] | frames.truncated[:, row]
        total = 0.0 if learner.horizon is None else self.episode_reward[row]
        for t in range(len(over)):
            if not frames.valid[t, row]:
                continue
            terms.append(self.term(frames, t, row, value) + (0 if penalty is None else penalty(frames, t, row)))
            total += frames.reward[t, row].item()
            if over[t]:
                self.ended.append(total)
                total = 0.0
                if learner.horizon is None:
                    break
        self.episode_reward[row] = total
        return terms

    def term(self, frames, t, row, value):
        learner, size = self.learner, self.learner.task.action_space.size
        logits, v = frames.output[t, row, :size], frames.output[t, row, -1]
        allowed = frames.action_masks[t][row] if frames.action_masks else torch.ones(size, dtype=torch.bool)
        chances = logits[allowed].softmax(0)
        chosen = chances[allowed[: frames.action[t, row]].sum()]
        advantage, weight = 0.0, 1.0  # generalized
        for later in range(t, len(frames.reward)):
            error = frames.reward[later, row] - value[later]
            if not frames.terminated[later, row]:
                error = error + learner.gamma * value[later + 1]  # of the next step, which has the final observation
            advantage += weight * error
            weight *= learner.gamma * learner.lam
            if frames.terminated[later, row] or frames.truncated[later, row]:
                break
        return (
            -chosen.log() * advantage
            + 0.3 * (advantage + v.detach() - v).square()
            + 0.2 * (chances * chances.log()).sum()
            + 0.1 * chances.square().sum()
        )


@pytest.mark.parametrize("lam", [1.0, 0.6])
@pytest.mark.parametrize("horizon", [None, 3, 7])
@pytest.mark.parametrize("task", [REPEAT, STEPS], ids=["fixed", "variable"])
def test_the_gradient_equals_that_of_a_reference_loss(task, horizon, lam):
    learner = a2c(task, horizon=horizon, lam=lam)
    reference = Reference(learner)
    known = None
    for _ in range(3):
        loss, agent = reference.loss()
        metrics = learner.update()
        assert_close(metrics["loss"], loss)
        assert_close(slopes(learner.agent), slopes(agent))
        if reference.ended:
            known = sum(reference.ended) / len(reference.ended)
        assert_close(float(metrics["return"]), sum(reference.episode_reward) / 4 if known is None else known)


@pytest.mark.parametrize("core", ["gru", "episodic_shared"])
def test_the_gradient_goes_through_all_steps_of_the_rollout(core):
    learner = a2c(core=core, horizon=4)
    loss, agent = Reference(learner).loss()
    assert_close(learner.update()["loss"], loss)
    assert_close(slopes(learner.agent), slopes(agent))


@pytest.mark.parametrize("horizon", [None, 3])
def test_auxiliary_losses_are_weighted_means_over_the_steps_that_count(horizon):
    learner = a2c(STEPS, core=LossyGRU, auxiliary={"size": 0.7}, horizon=horizon)
    reference = Reference(learner)
    for _ in range(2):
        loss, agent = reference.loss(lambda frames, t, row: 0.7 * frames.losses["size"][t, row])
        metrics = learner.update()
        assert_close(metrics["loss"], loss)
        assert_close(slopes(learner.agent), slopes(agent))
        parts = -0.2 * metrics["entropy"] + 0.1 * metrics["simpson"] + 0.3 * metrics["value_loss"]
        assert_close(metrics["loss"], metrics["policy_loss"] + parts + 0.7 * metrics["size"])


def test_scores_are_those_of_the_episodes_that_count():
    learner = a2c(STEPS, batch=32)
    carry = initial_carry(learner.agent, STEPS, 32, rng := learner.rng())
    frames, _ = rollout(learner.agent, STEPS, carry, rng, learner.rollout_policy, steps=4)
    due = frames.scores["length"]
    first = due.isfinite().int().argmax(0, keepdim=True)
    assert_close(learner.update()["length"], due.gather(0, first).mean())
    assert due.isfinite().sum() > 32  # others ended, too


@pytest.mark.parametrize("segment", [2, 3])
def test_segments_change_no_number(segment):
    learner, plain = a2c(grad_checkpoint_steps=segment), a2c()
    assert_close(learner.update()["loss"], plain.update()["loss"])
    assert_close(slopes(learner.agent), slopes(plain.agent))


def test_it_learns():
    task = RepeatPrevious(4, 1, symbols=2)
    agent = agent_with_critic(task, core="gru", experts=1, bus="silent").float()
    torch.nn.init.zeros_(agent.act.critic.linear.weight)
    learner = A2C(agent, task, lr=4e-2, gamma=0.5, entropy_weight=0.0)
    for _ in range(40):
        learner.update()
    assert evaluate(learner.agent, task, 64, seeded(), learner.eval_policy)["accuracy"].mean() > 0.9


# --- the contract, over streams; and the optimiser


def test_a_make_learner_streams_keeps_the_contract():
    paid_each_step = RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)  # so that every 3 steps have a score
    check_learner(partial(A2C, horizon=3, batch=6), [paid_each_step])


def test_a_loaded_stream_of_variable_length_episodes_continues_exactly():
    a_loaded_learner_continues_exactly(lambda seed=0: a2c(STEPS, horizon=3, seed=seed))


@pytest.mark.parametrize("other", [{"rank": 1}, {"batch": 2}])
def test_a_stream_of_another_rank_or_batch_size_is_reset(other):
    learner, restored = a2c(horizon=3), a2c(horizon=3, **other)
    learner.update()
    restored.load_state_dict(learner.state_dict())
    assert restored.stream is None and restored.update()["finite"]


def test_the_gradient_norm_is_clipped():
    learner, free = a2c(clip=1e-3), a2c()
    norm = free.update()["gradient_norm"]
    assert_close(learner.update()["gradient_norm"], norm)  # the norm before clipping
    clipped, whole = (torch.cat([g.flatten() for g in slopes(one.agent)]).norm() for one in (learner, free))
    assert_close(clipped.item(), 1e-3, rtol=1e-3, atol=0)
    assert_close(whole, norm)


def test_updates_are_those_of_adam():
    options = {"lr": 1e-2, "betas": (0.8, 0.9), "eps": 1e-4}
    learner, plain = a2c(**options), a2c()
    reference = Reference(plain)
    optimizer = torch.optim.Adam(plain.agent.parameters(), **options)
    for step in range(3):
        plain.step = step
        for p, gradient in zip(plain.agent.parameters(), slopes(reference.loss()[1]), strict=True):
            p.grad = gradient
        optimizer.step()
        learner.update()
    assert_close(flat(learner.agent), flat(plain.agent))


class Broken(RepeatPrevious):
    """A task with one reward of NaN."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(reward=torch.where(torch.arange(len(action)) == 1, torch.nan, step.reward))


def test_an_update_that_is_not_finite_changes_nothing():
    learner = a2c(Broken(5, 2, symbols=3, dtype=torch.float64), weight_decay=0.1)
    before = flat(learner.agent)
    assert not learner.update()["finite"]
    assert torch.equal(flat(learner.agent), before)


# --- policies


def test_masked_actions_are_never_sampled():
    learner = a2c(STEPS, horizon=5)
    carry = initial_carry(learner.agent, STEPS, 64, rng := seeded())
    frames, _ = rollout(learner.agent, STEPS, carry, rng, learner.rollout_policy, steps=8)
    allowed = torch.stack(frames.action_masks).gather(-1, frames.action.unsqueeze(-1)).squeeze(-1)
    assert allowed.all() and not torch.stack(frames.action_masks).all() and (frames.action == 0).any()


def test_the_default_eval_policy_is_sampled():
    assert a2c().eval_policy == Sampled(Discrete(3)) and a2c(eval_policy="greedy").eval_policy == Greedy(Discrete(3))


def test_an_inspection_uses_the_given_policy():
    learner = a2c(eval_policy="greedy")
    greedy, sampled = (
        inspect_agent(learner.agent, REPEAT, seeded(), policy=p).scalars
        for p in (learner.eval_policy, a2c().eval_policy)
    )
    assert greedy.keys() == sampled.keys() and greedy != sampled


def test_a_resumed_run_with_inspections_equals_an_uninterrupted_one(tmp_path):
    def run():
        return Run(a2c(horizon=3), outer_steps=4, folder=tmp_path / "run", save_every=2, inspect_every=2)

    stopped, whole = run(), run()
    whole.folder = None
    train(stopped, 3, quiet=True, tensorboard=False)
    resumed = load_trusted(tmp_path / "run", build=run)
    for one in (resumed, whole):
        train(one, quiet=True, tensorboard=False)
    assert resumed.step == 4 and torch.equal(flat(resumed.learner.agent), flat(whole.learner.agent))


# --- what is refused


def test_an_agent_without_a_critic_is_refused():
    with pytest.raises(
        ValueError, match=r"act\.Mean, which has no value estimate, .*build the agent with act=act\.WithCritic"
    ):
        A2C(toy_agent(REPEAT), REPEAT)


def test_an_agent_with_a_critic_is_refused_by_bptt():
    with pytest.raises(ValueError, match=r"last output is a value estimate, .*build it without act\.WithCritic"):
        BPTT(agent_with_critic(REPEAT), REPEAT)


def test_continuous_actions_without_a_gaussian_are_refused():
    with pytest.raises(ValueError, match=r"GuessingGame: actions are Continuous.*act=act\.WithCritic\(act\.Gaussian\("):
        A2C(agent_with_critic(game()), game())


def test_a_distribution_of_tasks_is_refused():
    with pytest.raises(ValueError, match="RandomSizes draws another task for each outer step, and A2C learns one"):
        A2C(agent_with_critic(REPEAT), RandomSizes(REPEAT, {"k": (1, 2)}))


def test_rewards_of_each_expert_are_refused():
    with pytest.raises(
        ValueError, match=r"PerExpertRewards returns a reward for each expert, \(4, 4\), want one for the agent"
    ):
        a2c(PerExpertRewards(dtype=torch.float64)).update()


def test_a_population_of_it_is_refused():
    with pytest.raises(ValueError, match=r"members of \['A2C'\], want BPTT"):
        Population([a2c(), a2c(seed=1)])


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"batch": 0}, "batch=0, want at least 1"),
        ({"horizon": 0}, "horizon=0, want at least 1"),
        ({"grad_checkpoint_steps": 0}, "grad_checkpoint_steps=0, want at least 1"),
        ({"experts": 0}, "experts=0, want at least 1"),
        ({"gamma": 1.1}, "gamma=1.1, want 0 to 1"),
        ({"lam": -0.1}, "lam=-0.1, want 0 to 1"),
        ({"eval_policy": "random"}, "random"),
    ],
)
def test_options_out_of_range_are_refused(option, error):
    with pytest.raises(ValueError, match=error):
        a2c(**option)


def test_an_auxiliary_loss_that_the_core_does_not_have_is_refused():
    with pytest.raises(ValueError, match=r"auxiliary=\['size'\]: the core GRU has no such .*; it has none"):
        a2c(core="gru", auxiliary={"size": 1.0})


def test_a_score_with_the_name_of_a_metric_is_refused():
    class Hiding(Steps):
        def _make_step(self, state, reward):
            step = super()._make_step(state, reward)
            return step._replace(scores={"entropy": step.scores["length"]})

    with pytest.raises(ValueError, match=r"Hiding or its agent returns \['entropy'\], a metric of A2C itself"):
        a2c(Hiding(dtype=torch.float64)).update()
