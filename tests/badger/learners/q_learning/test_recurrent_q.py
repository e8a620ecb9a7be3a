"""DRQN and R2D2 against a reference loss that is computed row by row and step by step, without padding."""

import copy
from functools import partial

import pytest
import torch
from torch.testing import assert_close

import toy_worlds
from badger import DRQN, R2D2, RepeatPrevious, Run, act, train
from badger.learners.q_learning.sequences import with_recurrent_states
from badger.learners.schedules import LinearEpsilon
from badger.testing.learner import a_loaded_learner_continues_exactly
from tasks import Gymnasium, RandomSizes
from tiny_runs import load_trusted, same
from toys import Steps, game, seeded, toy_agent

LONG = Steps(9, dtype=torch.float64)  # episodes of 1 to 9 steps, half of them truncated
REPEAT = RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)
OPTIONS = {
    "batch": 3,
    "horizon": 7,
    "gradient_steps": 2,
    "replay_batch": 5,
    "prefill": 4,
    "target_update_interval": 3,
    "clip": None,
}
MEMORY = {"train_length": 3, "overlap": 2, "burn_in": 2, "n_steps": 2, "gamma": 0.9}


def r2d2(task=LONG, *, core="gru", **options):
    return R2D2(toy_agent(task, core=core), task, **OPTIONS | MEMORY | options)


def drqn(task=LONG, *, core="gru", **options):
    return DRQN(toy_agent(task, core=core), task, **OPTIONS | options)


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


# --- the loss and its gradient, against the reference


def reference_loss(learner, batch, weights):
    """The loss, a copy of the agent with its gradient, and the TD errors of each sequence."""
    agent, target = copy.deepcopy(learner.agent), learner.target
    agent.zero_grad()
    terms, errors = [], []
    for row in range(len(batch.initial_states)):
        steps = batch.steps.map(lambda part, row=row: part[:, row : row + 1])
        own = []
        for q, wanted in targets_of_row(learner, agent, target, batch, row, steps):
            own.append((wanted - q).abs().detach())
            terms.append(weights[row] * (wanted - q).square())
        errors.append(torch.stack(own))
    loss = torch.stack(terms).mean()
    loss.backward()
    return loss.detach(), agent, errors


def targets_of_row(learner, agent, target, batch, row, steps):
    """Q of the action taken and its target, for each training step."""
    there = steps.valid[:, 0].nonzero().flatten().tolist()
    first, end = there[0], there[-1] + 1
    online = replay_row(agent, batch, row, steps, first, end, learner.spec.burn_in)
    target_q = replay_row(target, batch, row, steps, first, end, end + 1)
    for t in there:
        if t < learner.spec.burn_in:
            continue
        total, discount = 0.0, 1.0
        for later in range(t, min(t + learner.n_steps, end)):
            total = total + discount * steps.reward[later, 0]
            discount *= learner.gamma
            if steps.terminated[later, 0]:
                discount = 0.0
        if discount:
            at = min(t + learner.n_steps, end)
            by = (online if learner.double_q else target_q)[at].detach().clone()
            if steps.action_mask is not None and steps.action_mask[at, 0].any():
                by[~steps.action_mask[at, 0]] = -torch.inf
            total = total + discount * learner.value_transform.apply_inv(target_q[at][by.argmax()])
        yield online[t][steps.action[t, 0]], learner.value_transform.apply(total)


def replay_row(agent, batch, row, steps, first, end, frozen):
    """Q (A,) of each observation from the first to the one at `end`; no gradient before `frozen`."""
    address = None if batch.assignment is None else batch.assignment[row : row + 1]
    fresh = agent.initial_state(steps.obs[0], seeded())
    state = with_recurrent_states(
        [batch.initial_states[row]], fresh._replace(identity=batch.identity[row : row + 1], assignment=address)
    )
    values = {}
    for t in range(first, end + 1):
        with torch.set_grad_enabled(t >= frozen):
            output, state = agent(steps.obs[t], state)
        values[t] = output[0]
    return values


def sample(learner, rng):
    return learner.replay_buffer.sample(learner.replay_batch, rng)


CASES = {
    "r2d2": lambda: r2d2(replay_batch=12),
    "memory": lambda: r2d2(core="episodic"),
    "shared memory": lambda: r2d2(core="episodic_shared", burn_in=1),
    "no burn-in": lambda: r2d2(burn_in=0),
    "zero": lambda: r2d2(stored_state=False),
    "fixed": lambda: r2d2(REPEAT, burn_in=1, replay_batch=12),
    "drqn": lambda: drqn(),
    "pieces": lambda: drqn(train_length=4, overlap=1, double_q=True, n_steps=3),
    "drqn fixed": lambda: drqn(REPEAT),
}


@pytest.mark.parametrize("case", CASES)
def test_the_gradient_equals_that_of_a_reference_loss(case):
    learner = CASES[case]()
    for _ in range(3):
        learner.update()
    with torch.no_grad():  # a different target network
        for p in learner.target.parameters():
            p.mul_(1.1)
    rng = seeded(1)
    batch, places, weights = sample(learner, rng.clone_state())
    loss, agent, errors = reference_loss(learner, batch, weights)
    metrics = learner._gradient_step(1e-3, rng, {})
    assert_close(metrics["loss"], loss)
    for ours, theirs in zip(learner.agent.parameters(), agent.parameters(), strict=True):
        assert_close(ours.grad, torch.zeros_like(ours) if theirs.grad is None else theirs.grad)
    assert_close(metrics["td_error"], torch.cat(errors).mean())
    for place, own in zip(places.tolist(), errors, strict=True):
        assert_close(learner.replay_buffer.priority[place], 0.9 * own.max() + 0.1 * own.mean())
    if learner.spec.stored_state:
        assert any(one is not None for one in batch.initial_states)  # some start within an episode


def test_replayed_q_values_agree_with_the_greedy_actions_of_the_rollout():
    """With the weights and recurrent states of the rollout, the greedy action of the replay is the recorded one."""
    learner = r2d2(exploration=LinearEpsilon(0.0, 0.0, 0), core="episodic")
    rollouts = learner._make_collector(rng := seeded())
    learner._collect(rollouts, learner._rollout_policy([0.0] * 3), rng)
    batch, _, _ = sample(learner, rng)
    q, target, _ = learner._replay_q(batch, rng)
    steps = batch.steps.map(lambda part: part[learner.spec.burn_in :])
    allowed = steps.action_mask | ~steps.action_mask.any(-1, keepdim=True)
    greedy = q.masked_fill(~allowed, -torch.inf).argmax(-1)
    assert torch.equal(greedy[steps.valid], steps.action[steps.valid])
    assert_close(target[steps.valid], q[steps.valid])


# --- target network and loading


def test_the_target_network_is_updated_at_its_interval():
    learner = r2d2(gradient_steps=1)
    first, agents = flat(learner.target), []
    for _ in range(4):
        learner.update()
        agents.append(flat(learner.agent))
        expected = first if len(agents) < 3 else agents[2]
        assert torch.equal(flat(learner.target), expected)


@pytest.mark.parametrize("core", ["gru", "episodic"])
def test_a_loaded_q_learner_continues_exactly(core):
    a_loaded_learner_continues_exactly(lambda seed=0: r2d2(core=core, seed=seed))


@pytest.mark.parametrize("other", [{"rank": 1}, {"batch": 2}])
def test_the_replay_buffer_of_another_rank_or_batch_size_is_reset(other):
    learner, restored = r2d2(), r2d2(**other)
    learner.update()
    restored.load_state_dict(learner.state_dict())
    assert restored.collector is None and not len(restored.replay_buffer) and restored.update()["finite"]


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path):
    def run():
        return Run(r2d2(), outer_steps=4, folder=tmp_path / "run", save_every=2, inspect_every=2)

    stopped, whole = run(), run()
    whole.folder = None
    train(stopped, 3, quiet=True, tensorboard=False)
    resumed = load_trusted(tmp_path / "run", build=run)
    for one in (resumed, whole):
        train(one, quiet=True, tensorboard=False)
    assert resumed.step == 4 and torch.equal(flat(resumed.learner.agent), flat(whole.learner.agent))


@pytest.mark.parametrize("core", ["gru", "episodic"])
def test_of_external_environments_the_replay_buffer_is_saved_and_episodes_are_reset(core, tmp_path):
    def run():
        task = Gymnasium(partial(toy_worlds.Counter, 3), steps=9, dtype=torch.float64)
        return Run(r2d2(task, core=core), outer_steps=3, folder=tmp_path / "run", save_every=2)

    stopped = run()
    train(stopped, 2, quiet=True, tensorboard=False)
    before, after = stopped.learner, load_trusted(tmp_path / "run", build=run).learner
    assert same(after.replay_buffer.pack(), before.replay_buffer.pack()) and len(after.replay_buffer) > 4
    assert (
        not after.collector.episode_reward.any()
        and not after.collector.builder.episode_steps.any()
        and after.collector.last_return == before.collector.last_return
    )
    made, rng = before.collector.builder.env_steps, seeded()
    assert same(sample(after, rng.clone_state()), sample(before, rng))
    metrics = after.update()
    assert metrics["finite"] and made < metrics["env_steps"] <= made + 3 * 7


class Broken(Steps):
    """A task with one reward of NaN."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(reward=torch.where(torch.arange(len(action)) == 1, torch.nan, step.reward))


def test_an_update_that_is_not_finite_changes_nothing():
    learner = r2d2(Broken(9, dtype=torch.float64), weight_decay=0.1, replay_batch=20)
    before = flat(learner.agent)
    assert not learner.update()["finite"]
    assert torch.equal(flat(learner.agent), before) and learner.replay_buffer.priority.isfinite().all()


# --- metrics


def test_environment_steps_epsilon_and_replay_size_are_metrics():
    learner = r2d2(prefill=1, exploration=LinearEpsilon(0.5, 0.1, 20))
    one, other = learner.update(), learner.update()
    made = learner.collector.builder.env_steps
    assert 0 < one["env_steps"] <= 3 * 7 and one["env_steps"] < other["env_steps"] == made
    assert one["epsilon"] == 0.5 and other["epsilon"] == pytest.approx(max(0.1, 0.5 - 0.4 * one["env_steps"] / 20))
    assert other["replay_size"] == len(learner.replay_buffer)


def test_the_return_is_that_of_the_episodes_that_ended():
    learner = r2d2(REPEAT, horizon=REPEAT.steps, prefill=1, exploration=LinearEpsilon(0.0, 0.0, 0))
    metrics = learner.update()
    batch = learner.replay_buffer.get(torch.arange(3))  # the first pieces of the episodes; the others add what is new
    assert batch.steps.episode_start.any(0).all() and 0 <= metrics["return"] <= 1
    whole = drqn(REPEAT, horizon=REPEAT.steps, prefill=1)
    assert_close(whole.update()["return"], whole.replay_buffer.get(torch.arange(3)).steps.reward.sum(0).mean())


def test_the_discrepancy_is_zero_with_the_weights_of_the_rollout():
    learner = r2d2(discrepancy_interval=1, core="episodic")
    rollouts = learner._make_collector(rng := seeded())
    learner._collect(rollouts, learner._rollout_policy([0.5] * 3), rng)
    for found in learner.discrepancy(rng):
        assert_close(found, torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    with torch.no_grad():
        for p in learner.agent.parameters():
            p.mul_(1.2)
    assert all((found > 1e-6).any() for found in learner.discrepancy(rng))


def test_replay_from_the_zero_state_has_a_discrepancy():
    learner = r2d2(discrepancy_interval=1, stored_state=False, burn_in=0, replay_batch=40)
    rollouts = learner._make_collector(rng := seeded())
    learner._collect(rollouts, learner._rollout_policy([0.5] * 3), rng)
    assert all((found > 1e-3).any() for found in learner.discrepancy(rng))


def test_the_discrepancy_is_measured_at_its_interval():
    learner = r2d2(discrepancy_interval=2)
    reported = ["discrepancy" in learner.update() for _ in range(4)]
    assert reported == [True, False, True, False]


def test_a_discrepancy_without_beginnings_of_episodes_is_refused():
    learner = r2d2()
    learner.update()
    with pytest.raises(ValueError, match="are not stored: build the learner with discrepancy_interval=1"):
        learner.discrepancy(seeded())


# --- what is refused


def test_continuous_actions_are_refused():
    with pytest.raises(ValueError, match=r"GuessingGame: actions are Continuous.*learns tasks\.Discrete only"):
        drqn(game())


def test_a_distribution_of_tasks_is_refused():
    with pytest.raises(ValueError, match="RandomSizes draws another task for each outer step"):
        DRQN(toy_agent(REPEAT), RandomSizes(REPEAT, {"k": (1, 2)}))


def test_an_agent_with_a_critic_is_refused():
    agent = toy_agent(REPEAT)
    agent.act = act.WithCritic(agent.act)
    with pytest.raises(ValueError, match=r"last output is a value estimate, .*build it without act\.WithCritic"):
        R2D2(agent, REPEAT)


class PerExpertRewards(Steps):
    """Walks with a reward for each of 4 experts."""

    def _make_step(self, state, reward):
        return super()._make_step(state, reward)._replace(reward=reward.unsqueeze(-1).expand(-1, 4))


def test_rewards_of_each_expert_are_refused():
    with pytest.raises(
        ValueError,
        match=r"PerExpertRewards returns a reward for each expert, \(3, 4\), and sequences for replay want one",
    ):
        r2d2(PerExpertRewards(dtype=torch.float64)).update()


@pytest.mark.parametrize(
    ("option", "error"),
    [
        *[
            ({name: 0}, f"{name}=0, want at least 1")
            for name in ("batch", "horizon", "gradient_steps", "replay_batch", "n_steps")
        ],
        *[
            ({name: 0}, f"{name}=0, want at least 1")
            for name in ("prefill", "target_update_interval", "discrepancy_interval")
        ],
        ({"gamma": 1.1}, "gamma=1.1, want 0 to 1"),
        ({"priority_eta": -0.1}, "priority_eta=-0.1, want 0 to 1"),
        ({"prefill": 9, "capacity": 8}, "prefill=9, want at most capacity=8"),
    ],
)
def test_options_out_of_range_are_refused(option, error):
    with pytest.raises(ValueError, match=error):
        r2d2(**option)
