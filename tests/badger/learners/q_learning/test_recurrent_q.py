"""DRQN and R2D2 climb the gradient of a loss worked out row by row and step by step, without any padding."""

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

LONG = Steps(9, dtype=torch.float64)  # walks of 1 to 9 steps, half of them truncated
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


# --- the loss and its gradient, by hand


def by_hand(learner, drawn, weights):
    """The gradient of the loss in a copy of the agent; the loss, the copy, and the errors of each sequence."""
    agent, target = copy.deepcopy(learner.agent), learner.target
    agent.zero_grad()
    terms, errors = [], []
    for row in range(len(drawn.initial_states)):
        steps = drawn.steps.map(lambda part, row=row: part[:, row : row + 1])
        own = []
        for q, wanted in of_row(learner, agent, target, drawn, row, steps):
            own.append((wanted - q).abs().detach())
            terms.append(weights[row] * (wanted - q).square())
        errors.append(torch.stack(own))
    loss = torch.stack(terms).mean()
    loss.backward()
    return loss.detach(), agent, errors


def of_row(learner, agent, target, drawn, row, steps):
    """Q of what was done and what it should have been, for each step that counts."""
    there = steps.valid[:, 0].nonzero().flatten().tolist()
    first, end = there[0], there[-1] + 1
    online = lived_again(agent, drawn, row, steps, first, end, learner.spec.burn_in)
    judge = lived_again(target, drawn, row, steps, first, end, end + 1)
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
            by = (online if learner.double_q else judge)[at].detach().clone()
            if steps.action_mask is not None and steps.action_mask[at, 0].any():
                by[~steps.action_mask[at, 0]] = -torch.inf
            total = total + discount * learner.value_transform.apply_inv(judge[at][by.argmax()])
        yield online[t][steps.action[t, 0]], learner.value_transform.apply(total)


def lived_again(agent, drawn, row, steps, first, end, frozen):
    """Q (A,) of each observation from the first to the one at `end`; no gradient before `frozen`."""
    address = None if drawn.assignment is None else drawn.assignment[row : row + 1]
    fresh = agent.initial_state(steps.obs[0], seeded())
    state = with_recurrent_states(
        [drawn.initial_states[row]], fresh._replace(identity=drawn.identity[row : row + 1], assignment=address)
    )
    values = {}
    for t in range(first, end + 1):
        with torch.set_grad_enabled(t >= frozen):
            output, state = agent(steps.obs[t], state)
        values[t] = output[0]
    return values


def drawn_by(learner, rng):
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
def test_the_gradient_is_that_of_a_loss_by_hand(case):
    learner = CASES[case]()
    for _ in range(3):
        learner.update()
    with torch.no_grad():  # the target network is another
        for p in learner.target.parameters():
            p.mul_(1.1)
    rng = seeded(1)
    drawn, places, weights = drawn_by(learner, rng.clone_state())
    loss, agent, errors = by_hand(learner, drawn, weights)
    metrics = learner._gradient_step(1e-3, rng, {})
    assert_close(metrics["loss"], loss)
    for ours, theirs in zip(learner.agent.parameters(), agent.parameters(), strict=True):
        assert_close(ours.grad, torch.zeros_like(ours) if theirs.grad is None else theirs.grad)
    assert_close(metrics["td_error"], torch.cat(errors).mean())
    for place, own in zip(places.tolist(), errors, strict=True):
        assert_close(learner.replay_buffer.priority[place], 0.9 * own.max() + 0.1 * own.mean())
    if learner.spec.stored_state:
        assert any(one is not None for one in drawn.initial_states)  # some began in the midst of an episode


def test_what_it_trains_on_is_what_it_lived_through():
    """With the weights of then, and from what was known then, Q and what was done agree with the greedy choice."""
    learner = r2d2(exploration=LinearEpsilon(0.0, 0.0, 0), core="episodic")
    lived = learner._make_collector(rng := seeded())
    learner._collect(lived, learner._rollout_policy([0.0] * 3), rng)
    drawn, _, _ = drawn_by(learner, rng)
    q, target, _ = learner._replay_q(drawn, rng)
    steps = drawn.steps.map(lambda part: part[learner.spec.burn_in :])
    legal = steps.action_mask | ~steps.action_mask.any(-1, keepdim=True)
    greedy = q.masked_fill(~legal, -torch.inf).argmax(-1)
    assert torch.equal(greedy[steps.valid], steps.action[steps.valid])
    assert_close(target[steps.valid], q[steps.valid])


# --- what lives for the run


def test_the_target_network_follows_every_so_many_steps():
    learner = r2d2(gradient_steps=1)
    first, agents = flat(learner.target), []
    for _ in range(4):
        learner.update()
        agents.append(flat(learner.agent))
        expected = first if len(agents) < 3 else agents[2]
        assert torch.equal(flat(learner.target), expected)


@pytest.mark.parametrize("core", ["gru", "episodic"])
def test_it_goes_on_after_loading(core):
    a_loaded_learner_continues_exactly(lambda seed=0: r2d2(core=core, seed=seed))


@pytest.mark.parametrize("other", [{"rank": 1}, {"batch": 2}])
def test_the_replay_of_another_process_or_batch_is_not_gone_on_with(other):
    learner, restored = r2d2(), r2d2(**other)
    learner.update()
    restored.load_state_dict(learner.state_dict())
    assert restored.collector is None and not len(restored.replay_buffer) and restored.update()["finite"]


def test_a_run_of_it_is_saved_and_gone_on_with(tmp_path):
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
def test_of_worlds_that_are_not_ours_the_replay_is_kept_and_episodes_begin_anew(core, tmp_path):
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
    assert same(drawn_by(after, rng.clone_state()), drawn_by(before, rng))
    metrics = after.update()
    assert metrics["finite"] and made < metrics["env_steps"] <= made + 3 * 7


class Broken(Steps):
    """One reward is not a number."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(reward=torch.where(torch.arange(len(action)) == 1, torch.nan, step.reward))


def test_an_update_that_is_not_finite_changes_nothing():
    learner = r2d2(Broken(9, dtype=torch.float64), weight_decay=0.1, replay_batch=20)
    before = flat(learner.agent)
    assert not learner.update()["finite"]
    assert torch.equal(flat(learner.agent), before) and learner.replay_buffer.priority.isfinite().all()


# --- what it tells


def test_it_plays_so_many_steps_and_tells_of_them():
    learner = r2d2(prefill=1, exploration=LinearEpsilon(0.5, 0.1, 20))
    one, other = learner.update(), learner.update()
    made = learner.collector.builder.env_steps
    assert 0 < one["env_steps"] <= 3 * 7 and one["env_steps"] < other["env_steps"] == made
    assert one["epsilon"] == 0.5 and other["epsilon"] == pytest.approx(max(0.1, 0.5 - 0.4 * one["env_steps"] / 20))
    assert other["replay_size"] == len(learner.replay_buffer)


def test_the_return_is_that_of_the_episodes_that_ended():
    learner = r2d2(REPEAT, horizon=REPEAT.steps, prefill=1, exploration=LinearEpsilon(0.0, 0.0, 0))
    metrics = learner.update()
    drawn = learner.replay_buffer.get(torch.arange(3))  # the first pieces of the episodes; the others add what is new
    assert drawn.steps.episode_start.any(0).all() and 0 <= metrics["return"] <= 1
    whole = drqn(REPEAT, horizon=REPEAT.steps, prefill=1)
    assert_close(whole.update()["return"], whole.replay_buffer.get(torch.arange(3)).steps.reward.sum(0).mean())


def test_a_discrepancy_is_none_as_long_as_the_weights_are_the_same():
    learner = r2d2(discrepancy_interval=1, core="episodic")
    lived = learner._make_collector(rng := seeded())
    learner._collect(lived, learner._rollout_policy([0.5] * 3), rng)
    assert_close(learner.discrepancy(rng), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    with torch.no_grad():
        for p in learner.agent.parameters():
            p.mul_(1.2)
    assert (learner.discrepancy(rng) > 1e-6).any()


def test_an_agent_that_begins_with_nothing_is_elsewhere():
    learner = r2d2(discrepancy_interval=1, stored_state=False, burn_in=0, replay_batch=40)
    lived = learner._make_collector(rng := seeded())
    learner._collect(lived, learner._rollout_policy([0.5] * 3), rng)
    assert (learner.discrepancy(rng) > 1e-3).any()


def test_the_discrepancy_is_told_when_it_is_due():
    learner = r2d2(discrepancy_interval=2)
    told = ["discrepancy" in learner.update() for _ in range(4)]
    assert told == [True, False, True, False]


def test_a_discrepancy_without_what_was_known_is_refused():
    learner = r2d2()
    learner.update()
    with pytest.raises(ValueError, match="are not stored: build the learner with discrepancy_interval=1"):
        learner.discrepancy(seeded())


# --- what is refused


def test_real_numbers_are_refused():
    with pytest.raises(ValueError, match=r"GuessingGame: actions are Continuous.*want tasks\.Discrete"):
        drqn(game())


def test_a_distribution_of_tasks_is_refused():
    with pytest.raises(ValueError, match="RandomSizes draws another task for each outer step"):
        DRQN(toy_agent(REPEAT), RandomSizes(REPEAT, {"k": (1, 2)}))


def test_an_agent_with_a_value_is_refused():
    agent = toy_agent(REPEAT)
    agent.act = act.WithCritic(agent.act)
    with pytest.raises(ValueError, match=r"puts out a value beside its action, .*build it without act\.Valued"):
        R2D2(agent, REPEAT)


class Paid(Steps):
    """Each of 4 experts has a reward of its own."""

    def _make_step(self, state, reward):
        return super()._make_step(state, reward)._replace(reward=reward.unsqueeze(-1).expand(-1, 4))


def test_rewards_of_each_expert_are_refused():
    with pytest.raises(ValueError, match=r"Paid returns a reward for each expert, \(3, 4\), and Q-learning wants one"):
        r2d2(Paid(dtype=torch.float64)).update()


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
def test_options_that_make_no_sense_are_refused(option, error):
    with pytest.raises(ValueError, match=error):
        r2d2(**option)
