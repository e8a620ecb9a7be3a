"""PPO against a reference loss that is computed step by step, in sequences, for one agent and for several."""

import copy

import pytest
import torch
from torch.testing import assert_close

from badger import A2C, PPO, act, evaluate, generator
from badger.agent import Agent
from badger.learners.schedules import Cooldown
from badger.rng import drawing_from
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import detach_carry, initial_carry
from badger.sense import Team
from badger.testing.learner import a_loaded_learner_continues_exactly
from comms import Attention, Gated, Noisy
from experts import GRU
from tasks import RandomSizes
from toy_learners import REPEAT, STEPS, LossyGRU, PerExpertRewards, agent_with_critic, flat, slopes
from toys import HIDDEN, IDENTITY, MESSAGE, Herd, game, seeded

HERD = Herd(dtype=torch.float64)
OPTIONS = {
    "batch": 3, "gamma": 0.9, "lam": 0.7, "value_weight": 0.3, "entropy_weight": 0.2, "clip": None, "epochs": 1,
    "minibatches": 1, "horizon": 7, "normalize_advantage": "never", "reward_scale": 0.5,
}  # fmt: skip


def herd_agent():
    with drawing_from(generator(0, "toy")):
        bus = Attention(HIDDEN, MESSAGE)
        port = act.WithCritic(act.Team(HIDDEN, 3, 3), act.Team(HIDDEN, 1, 3))
        agent = Agent(
            sense=Team(3), core=GRU(3 + MESSAGE + IDENTITY, HIDDEN), bus=bus, act=port, experts=6, identity_size=3
        ).double()
    torch.nn.init.normal_(agent.act.critic.linear.weight, generator=seeded())
    return agent


def ppo(task=STEPS, *, core="episodic", **options):
    agent = herd_agent() if isinstance(task, Herd) else agent_with_critic(task, core=core)
    return PPO(agent, task, **OPTIONS | options)


class Reference:
    """The loss of a learner's next update: its rollouts, and each term of each step by itself."""

    def __init__(self, learner):
        self.learner, self.carry = learner, None
        self.rng = None

    def rollouts(self):
        """Rollouts by the learner's own agent, with their graph; and the bootstrap value after each."""
        learner, task = self.learner, self.learner.task
        self.rng = generator(learner.seed, "train", learner.step)
        carry = self.carry or initial_carry(learner.agent, task, learner.batch, self.rng)
        done, pieces = 0, []
        while done < learner.horizon:
            steps = min(learner.sequence_length, learner.horizon - done)
            steps = min(steps, task.steps - carry.elapsed % task.steps) if task.fixed_length else steps
            frames, carry = rollout(
                learner.agent, task, detach_carry(carry), self.rng, learner.rollout_policy, steps=steps
            )
            after = learner.agent(carry.step.obs, carry.agent_state.with_active_agents(carry.step.present), self.rng)[
                0
            ][..., -1].detach()
            pieces.append((frames, after))
            done += steps
        self.carry = detach_carry(carry)
        return pieces

    def loss(self, penalty=None):
        """The loss of the first and only minibatch, in which every ratio is 1."""
        terms, pieces = [], self.rollouts()
        for place, (frames, _) in enumerate(pieces):
            for t in range(len(frames.reward)):
                for row in range(self.learner.batch):
                    for who in [()] if frames.reward.dim() == 2 else [(p,) for p in range(frames.reward.shape[2])]:
                        if self.is_valid(frames, t, row, who):
                            term = self.term(pieces, place, t, row, who)
                            terms.append(term + (0 if penalty is None else penalty(frames, t, row)))
        return torch.stack(terms).mean()

    def is_valid(self, frames, t, row, who):
        """Whether the step is valid for that agent."""
        if not frames.valid[t, row]:
            return False
        return not who or bool(frames.active[t, row][who])

    def term(self, pieces, place, t, row, who):
        learner, size, frames = self.learner, self.learner.task.action_space.size, pieces[place][0]
        at = (row, *who)
        logits, v = frames.output[t][at][:size], frames.output[t][at][-1]
        action_mask = frames.action_masks[t][at] if frames.action_masks else torch.ones(size, dtype=torch.bool)
        logs = logits.masked_fill(~action_mask, -torch.inf).log_softmax(0)[action_mask]
        chosen = logs[action_mask[: frames.action[t][at]].sum()]
        advantage, weight, over = 0.0, 1.0, False
        for later in range(place, len(pieces)):
            some, after = pieces[later]
            for s in range(t if later == place else 0, len(some.reward)):
                next_ = some.output[s + 1][at][-1].detach() if s + 1 < len(some.reward) else after[at]
                error = 0.5 * some.reward[s][at] - some.output[s][at][-1].detach()
                error = error + (0 if some.terminated[s][at] else learner.gamma * next_)
                advantage = advantage + weight * error
                weight *= learner.gamma * learner.lam
                over = bool(some.terminated[s][at] or some.truncated[s][at])
                if over:
                    break
            if over:
                break
        ratio = (chosen - chosen.detach()).exp()
        return -ratio * advantage + 0.3 * (advantage + v.detach() - v).square() + 0.2 * (logs.exp() * logs).sum()


@pytest.mark.parametrize("sequence", [None, 3])
@pytest.mark.parametrize("task", [REPEAT, STEPS, HERD], ids=["fixed", "variable", "several agents"])
def test_the_first_gradient_equals_that_of_a_reference_loss(task, sequence):
    learner = ppo(task, sequence_length=sequence, lr=1e-3)
    reference = Reference(learner)
    for _ in range(2):
        learner.updater.optimizer.zero_grad()
        loss = reference.loss()
        loss.backward()
        wanted = slopes(learner.agent)
        metrics = learner.update()
        assert_close(metrics["loss"], loss.detach())
        assert_close(slopes(learner.agent), wanted)
        assert metrics["approx_kl"] < 1e-12 and metrics["clip_fraction"] == 0


def test_agents_that_have_ended_are_masked_out():
    pieces = Reference(ppo(HERD)).rollouts()
    frames = pieces[0][0]
    assert (frames.valid.unsqueeze(-1) & ~frames.active).any() and frames.active.any(0).all()


@pytest.mark.parametrize("make", [A2C, PPO])
def test_both_learners_support_several_agents(make):
    if make is A2C:
        options = {"batch": 3, "horizon": 7, "clip": None, "gamma": 0.9, "lam": 0.7, "reward_scale": 0.5}
        other = A2C(herd_agent(), HERD, value_weight=0.3, entropy_weight=0.2, **options)
        other.agent.zero_grad()
        reference = Reference(ppo(HERD))
        reference.loss().backward()  # the gradient of both is the same as long as no ratio is but 1
        wanted = slopes(reference.learner.agent)
        other.update()
        assert_close(slopes(other.agent), wanted)
    assert torch.as_tensor(ppo(HERD).update()["return"]).isfinite()


def test_auxiliary_losses_are_weighted_means_over_the_steps_that_count():
    learner = ppo(core=LossyGRU, auxiliary={"size": 0.7})
    reference = Reference(learner)
    learner.updater.optimizer.zero_grad()
    loss = reference.loss(lambda frames, t, row: 0.7 * frames.losses["size"][t, row])
    loss.backward()
    wanted = slopes(learner.agent)
    assert_close(learner.update()["loss"], loss.detach())
    assert_close(slopes(learner.agent), wanted)


# --- epochs and minibatches


def reference_update(learner):
    """The parameters after an update of several epochs and minibatches, computed row by row with torch's AdamW."""
    agent = copy.deepcopy(learner.agent)
    reference = Reference(learner)
    with torch.no_grad():
        ((frames, after),) = reference.rollouts()
    size = learner.task.action_space.size
    value = torch.cat([frames.output[..., -1], after.unsqueeze(0)])
    advantage = torch.zeros_like(frames.reward)
    for row in range(learner.batch):
        for t in reversed(range(len(frames.reward))):
            over = frames.terminated[t, row] | frames.truncated[t, row]
            error = 0.5 * frames.reward[t, row] + learner.gamma * value[t + 1, row] * ~frames.terminated[t, row]
            later = advantage[t + 1, row] if t + 1 < len(frames.reward) and not over else 0.0
            advantage[t, row] = error - value[t, row] + learner.gamma * learner.lam * later
    optimizer = torch.optim.AdamW(agent.parameters(), lr=learner.updater.schedule(0), weight_decay=0, eps=1e-5)
    orders = [torch.randperm(learner.batch, generator=reference.rng) for _ in range(learner.epochs)]
    for part in [part for order in orders for part in order.tensor_split(learner.minibatches)]:
        carry = initial_carry(agent, learner.task, learner.batch, draws := generator(learner.seed, "train", 0))
        policy = replaying_policy(frames.action, learner.rollout_policy)
        whole, _ = rollout(agent, learner.task, carry, draws, policy, steps=len(value) - 1)
        loss, number = 0.0, 0
        counted = [advantage[t, r] for r in part for t in range(len(advantage)) if frames.valid[t, r]]
        centre, spread = torch.stack(counted).mean(), torch.stack(counted).std(correction=0)
        for row in part:
            for t in range(len(advantage)):
                if not frames.valid[t, row]:
                    continue
                number += 1
                action_mask = frames.action_masks[t][row]
                old, new = (
                    f.output[t, row, :size].masked_fill(~action_mask, -1e300).log_softmax(0) for f in (frames, whole)
                )
                at, v = frames.action[t, row], whole.output[t, row, -1]
                ratio, gain = (new[at] - old[at]).exp(), (advantage[t, row] - centre) / (spread + 1e-8)
                near = value[t, row] + (v - value[t, row]).clamp(-0.01, 0.01)
                goal = advantage[t, row] + value[t, row]
                loss = loss - torch.min(ratio * gain, ratio.clamp(0.9, 1.1) * gain)
                loss = loss + 0.3 * torch.max((goal - v).square(), (goal - near).square())
                loss = loss + 0.2 * (new.exp() * new)[action_mask].sum()
        optimizer.zero_grad()
        (loss / number).backward()
        optimizer.step()
    return flat(agent)


def replaying_policy(actions, sampled):
    """A policy that consumes random numbers like `sampled`, and returns recorded actions."""
    left = iter(actions)

    def policy(output, action_mask, state, rng):
        sampled(output, action_mask, state, rng)
        return next(left), state

    return policy


@pytest.mark.parametrize("core", ["gru", "episodic"])
def test_epochs_and_minibatches_equal_a_reference_loop(core):
    learner = ppo(
        core=core, epochs=2, minibatches=2, normalize_advantage="minibatch", ratio_clip=0.1, value_clip=0.01, lr=2e-2
    )
    wanted = reference_update(learner)
    metrics = learner.update()
    assert metrics["clip_fraction"] > 0 and metrics["approx_kl"] > 0
    assert_close(flat(learner.agent), wanted)


def test_target_kl_stops_the_epochs_early():
    def moved(**options):
        learner = ppo(core="gru", epochs=6, minibatches=3, lr=3e-2, **options)
        before = flat(learner.agent)
        update_metrics = learner.update()
        return update_metrics["approx_kl"], (flat(learner.agent) - before).norm()

    (far, way), (near, less) = moved(), moved(target_kl=1e-3)
    assert near < far and 0 < less < way


@pytest.mark.parametrize("wrap", [lambda bus: Noisy(bus, drop=0.5, noise=1.0), Gated])
def test_target_kl_stops_after_one_step_where_the_bus_draws_anew(wrap):
    learner = ppo(core="gru", minibatches=3, target_kl=1e-9)
    learner.agent.bus = wrap(learner.agent.bus).double()
    before = flat(learner.agent)
    metrics = learner.update()
    assert metrics["finite"] and not torch.equal(flat(learner.agent), before)
    assert learner.updater.optimizer.state[learner.updater.parameters[0]]["step"] == 1


@pytest.mark.parametrize("normalise", ["batch", "minibatch"])
def test_normalized_advantages_do_not_depend_on_the_reward_scale(normalise):
    one, other = (
        ppo(
            core="gru",
            normalize_advantage=normalise,
            reward_scale=scale,
            value_weight=0.0,
            lam=1.0,
            gamma=1.0,
            minibatches=2,
        )
        for scale in (1.0, 10.0)
    )
    for learner in (one, other):
        torch.nn.init.zeros_(learner.agent.act.critic.linear.weight)
        torch.nn.init.zeros_(learner.agent.act.critic.linear.bias)
        learner.update()
    assert_close(flat(one.agent), flat(other.agent), rtol=1e-5, atol=1e-6)


# --- metrics and loading


def test_environment_steps_are_counted():
    learner = ppo(horizon=5)
    assert [learner.update()["env_steps"] for _ in range(2)] == [15.0, 30.0]
    assert learner.env_steps == 30


def test_scores_and_returns_are_those_of_the_episodes_that_ended():
    learner = ppo(horizon=30, batch=16)
    carry = initial_carry(learner.agent, STEPS, 16, rng := learner.rng())
    frames, _ = rollout(learner.agent, STEPS, carry, rng, learner.rollout_policy, steps=30)
    metrics = learner.update()
    assert_close(metrics["length"], frames.scores["length"].nanmean())
    totals, running_return = [], [0.0] * 16
    for t in range(30):
        for row in range(16):
            running_return[row] += frames.reward[t, row].item()
            if frames.scores["length"][t, row].isfinite():
                totals.append(running_return[row])
                running_return[row] = 0.0
    assert_close(float(metrics["return"]), sum(totals) / len(totals))


@pytest.mark.parametrize("task", [STEPS, HERD], ids=["one", "several agents"])
def test_a_loaded_stream_continues_exactly(task):
    options = {"epochs": 2, "minibatches": 2, "sequence_length": 4}
    a_loaded_learner_continues_exactly(lambda seed=0: ppo(task, seed=seed, **options))


def test_ppo_learns_with_continuous_actions():
    task = game(steps=3, dims=1)
    agent = agent_with_critic(task, core="gru", experts=1, bus="silent")
    agent.act = act.WithCritic(act.Gaussian(agent.act.base, log_std=-1.0)).double()
    learner = PPO(agent, task, batch=64, horizon=3, lr=2e-2, minibatches=2)
    first = evaluate(agent, task, 256, seeded(), learner.eval_policy)["return"].mean()
    for _ in range(15):
        assert learner.update()["finite"]
    assert (
        evaluate(agent, task, 256, seeded(), learner.eval_policy)["return"].mean() > 0.8 * first
    )  # returns are below 0


def test_the_weight_of_the_entropy_falls_with_the_learning_rate():
    falling = ppo(core="gru", lr=Cooldown(0.01, 4, fraction=1.0), entropy_schedule="lr")
    same = ppo(core="gru", lr=0.01, entropy_weight=OPTIONS["entropy_weight"] / 4)
    falling.step = same.step = 3  # a quarter of the peak is left
    assert_close(falling.update()["loss"], same.update()["loss"])


# --- what is refused


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ({"horizon": 0}, "horizon=0, want at least 1"),
        ({"sequence_length": 0}, "sequence_length=0, want at least 1"),
        ({"epochs": 0}, "epochs=0, want at least 1"),
        ({"ratio_clip": 0.0}, "ratio_clip=0.0, want a number above 0"),
        ({"value_clip": -1.0}, "value_clip=-1.0, want"),
        ({"target_kl": 0.0}, "target_kl=0.0, want"),
        ({"normalize_advantage": "often"}, "normalize_advantage='often', want minibatch, batch or never"),
        ({"gamma": 1.5}, "gamma=1.5, want 0 to 1"),
        ({"entropy_schedule": "often"}, "entropy_schedule='often', want one of constant, lr"),
        ({"entropy_schedule": "lr", "lr": lambda step: 0.1}, "entropy_schedule='lr', and lr=.* has no attribute peak"),
    ],
)
def test_options_out_of_range_are_refused(option, error):
    with pytest.raises(ValueError, match=error):
        ppo(**option)


def test_unsupported_tasks_are_refused_by_name():
    with pytest.raises(ValueError, match="RandomSizes draws another task for each outer step, and PPO learns one"):
        PPO(agent_with_critic(REPEAT), RandomSizes(REPEAT, {"k": (1, 2)}))
    with pytest.raises(ValueError, match=r"GuessingGame: actions are Continuous.*build it with act=act\.WithCritic"):
        PPO(agent_with_critic(game()), game())
    with pytest.raises(ValueError, match="PerExpertRewards returns a reward for each expert"):
        PPO(agent_with_critic(STEPS), PerExpertRewards(dtype=torch.float64), batch=2, horizon=2, minibatches=2).update()
