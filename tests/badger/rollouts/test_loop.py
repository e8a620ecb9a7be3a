"""Rollouts: trajectories, carries, resets, gradients."""

import pytest
import torch
from torch.testing import assert_close

from badger import BUSES, CORES, RepeatPrevious, initial_carry, rollout
from pairwise import each_value, pairwise
from toys import OF_MODELS, Crowd, Walk, game, seeded, toy_agent, with_seeds_of

B = 3
cores = pytest.mark.parametrize("core", CORES)
walk = Walk(dtype=torch.float64)


def run(agent, task, steps, *, batch=B, carry=None, **options):
    carry = carry or initial_carry(agent, task, batch, seeded())
    return rollout(agent, task, carry, seeded(1), steps=steps, **options)


def same(a, b):
    """Asserts that two trajectories are equal, bit for bit."""
    for name in ("obs", "output", "action", "reward", "terminated", "truncated", "valid"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    for name, score in a.scores.items():
        assert_close(b.scores[name], score, rtol=0, atol=0, equal_nan=True)


# --- trajectories


def test_a_trajectory_has_time_first():
    agent = toy_agent(game(dims=2))
    trajectory, _ = run(agent, game(dims=2), 5)
    assert trajectory.obs.shape == (5, B, 1)
    assert trajectory.output.shape == trajectory.action.shape == (5, B, 2)
    for part in (
        trajectory.reward,
        trajectory.terminated,
        trajectory.truncated,
        trajectory.valid,
        *trajectory.scores.values(),
    ):
        assert part.shape == (5, B)
    assert trajectory.scores.keys() == {"error", "final_error"}
    assert trajectory.losses == {} and trajectory.hook_outputs == []


def test_a_trajectory_holds_the_observations_actions_and_results():
    task = game(steps=3)
    agent = toy_agent(task)
    trajectory, _ = run(agent, task, 3)
    env_state, step = task.reset(B, seeded())
    for t in range(3):
        assert torch.equal(trajectory.obs[t], step.obs)
        env_state, step = task.step(env_state, trajectory.action[t], seeded())
        assert torch.equal(trajectory.reward[t], step.reward)
        assert torch.equal(trajectory.scores["error"][t], step.scores["error"])
    assert trajectory.terminated.tolist() == [[False] * B] * 2 + [[True] * B]


def test_the_output_is_that_of_the_agent():
    agent = toy_agent(game(), core="episodic", port="readout")
    carry = initial_carry(agent, game(), B, seeded())
    trajectory, after = run(agent, game(), 5, carry=carry)
    state = carry.agent_state
    for t in range(5):
        output, state = agent(trajectory.obs[t], state, seeded())
        assert torch.equal(output, trajectory.output[t])
    assert torch.equal(state.y, after.agent_state.y)


def test_auxiliary_losses_are_recorded_in_each_step():
    agent = toy_agent(game())
    agent.core.losses = lambda state: {"size": state.h.square().sum((1, 2))}
    trajectory, _ = run(agent, game(), 5, hook=lambda s: s.core.h.square().sum((1, 2)))
    assert torch.equal(trajectory.losses["size"], torch.stack(trajectory.hook_outputs))


def test_a_policy_computes_the_action_from_the_output():
    task = RepeatPrevious(dtype=torch.float64)
    agent = toy_agent(task)

    def sample(output, action_mask, state, rng):
        assert action_mask is None
        return torch.multinomial(output.softmax(-1), 1, generator=rng).squeeze(-1), state

    trajectory, _ = run(agent, task, 4, policy=sample)
    assert trajectory.action.shape == (4, B) and trajectory.action.dtype == torch.long
    assert trajectory.output.shape == (4, B, 4)


def test_the_hook_receives_the_state_after_each_step():
    agent = toy_agent(game())
    trajectory, after = run(agent, game(), 4, hook=lambda s: s.y)
    assert len(trajectory.hook_outputs) == 4
    assert torch.equal(trajectory.hook_outputs[-1], after.agent_state.y)
    assert_close(
        torch.stack(trajectory.hook_outputs).mean(2) @ agent.act.linear.weight.T + agent.act.linear.bias,
        trajectory.output,
    )


@pytest.mark.parametrize("experts", [None, 6])
def test_an_initial_carry_may_have_another_number_of_experts(experts):
    agent = toy_agent(game())
    assert initial_carry(agent, game(), B, seeded(), experts=experts).agent_state.y.shape[1] == (experts or 4)


# --- a carry is a value


PARTS = {core: (core, "attention") for core in CORES} | {bus: ("gru", bus) for bus in BUSES}
TASKS = {"resetting": game(steps=4), "fixed": game(steps=10), "variable": walk}


@pairwise(parts=PARTS, grad=[True, False], task=["resetting", "variable"])
def test_the_same_carry_gives_the_same_trajectory(parts, grad, task):
    task, (core, bus) = TASKS[task], PARTS[parts]
    agent = toy_agent(task, core=core, bus=bus)
    with torch.set_grad_enabled(grad):
        _, carry = run(agent, task, 3)
        first, after = run(agent, task, 4, carry=carry)
        second, after_second = run(agent, task, 4, carry=carry)
    same(first, second)
    assert torch.equal(after.agent_state.y, after_second.agent_state.y)


@each_value(parts=PARTS, task=TASKS)
def test_two_rollouts_of_five_are_one_of_ten(parts, task):
    task, (core, bus) = TASKS[task], PARTS[parts]
    agent = toy_agent(task, core=core, bus=bus)
    whole, end = run(agent, task, 10)
    rng, carry, halves = seeded(1), initial_carry(agent, task, B, seeded()), []
    for _ in range(2):
        trajectory, carry = rollout(agent, task, carry, rng, steps=5)
        halves.append(trajectory)
    for name in ("obs", "output", "reward", "terminated", "truncated", "valid"):
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), getattr(whole, name)), name
    assert torch.equal(carry.agent_state.y, end.agent_state.y)


# --- episodes of fixed length


def test_a_task_of_fixed_length_is_reset_without_an_invalid_step():
    task = game(steps=4)
    agent = toy_agent(task)
    trajectory, carry = run(agent, task, 10, hook=lambda s: s.identity)
    ends = [bool(end.all()) for end in trajectory.terminated]
    assert ends == [False, False, False, True] * 2 + [False] * 2
    assert trajectory.valid.all() and carry.elapsed == 2
    assert trajectory.scores["final_error"].isfinite().all(1).tolist() == ends
    observed = [
        bool((trajectory.obs[t] == trajectory.scores["error"][t - 1].unsqueeze(-1)).all()) for t in range(1, 10)
    ]
    assert observed == [t % 4 != 0 for t in range(1, 10)]  # the first observation of an episode is of the zero guess


@cores
def test_the_agent_is_reset_with_a_task_of_fixed_length(core):
    task = game(steps=4)
    agent = toy_agent(task, core=core)
    trajectory, _ = run(agent, task, 10, hook=lambda s: s)
    for t in range(1, 10):
        assert torch.equal(trajectory.hook_outputs[t].identity, trajectory.hook_outputs[t - 1].identity) == (t % 4 != 0)
    reset_state = trajectory.hook_outputs[4]
    state = agent.initial_state(trajectory.obs[4], seeded())._replace(
        identity=reset_state.identity, assignment=reset_state.assignment
    )
    state = state._replace(core=with_seeds_of(state.core, reset_state.core))
    assert_close(agent(trajectory.obs[4], state)[0], trajectory.output[4])


@cores
def test_keep_state_keeps_the_state_over_episodes_of_fixed_length(core):
    task = game(steps=4)
    agent = toy_agent(task, core=core)
    carry = initial_carry(agent, task, B, seeded())
    trajectory, after = run(agent, task, 10, carry=carry, keep_state=True)
    state = carry.agent_state
    for t in range(10):
        output, state = agent(trajectory.obs[t], state)
        assert_close(output, trajectory.output[t])
    assert torch.equal(after.agent_state.identity, carry.agent_state.identity)


# --- episodes of variable length


def walks(**options):
    """12 steps of 8 walks, in which some end by termination and some by truncation."""
    agent = toy_agent(walk, core=options.pop("core", "gru"))
    trajectory, _ = run(agent, walk, 12, batch=8, hook=lambda s: s, **options)
    ended = trajectory.terminated | trajectory.truncated
    assert (
        trajectory.terminated.any()
        and trajectory.truncated.any()
        and not (trajectory.terminated & trajectory.truncated).any()
    )
    assert (ended[:6].sum(0) >= 1).all()
    return agent, trajectory, ended


def test_only_the_step_after_an_end_is_invalid():
    _, trajectory, ended = walks()
    assert trajectory.valid[0].all()
    assert torch.equal(~trajectory.valid[1:], ended[:-1])


def test_the_agent_observes_the_final_state_and_then_a_new_episode():
    _, trajectory, ended = walks()
    clock, lengths = trajectory.obs[..., 1], trajectory.scores["length"]
    ends = ended[:-2]
    assert torch.equal(clock[1:-1][ends], lengths[:-2][ends])  # the final observation, of the time of the end
    assert not clock[2:][ends].any()  # the first of the next episode
    going = ~ended[:-1] & trajectory.valid[:-1]
    assert torch.equal(clock[1:][going], clock[:-1][going] + 1)


def test_the_action_after_an_end_is_ignored():
    _, trajectory, _ = walks()
    invalid = ~trajectory.valid
    assert not trajectory.reward[invalid].any()
    assert not trajectory.terminated[invalid].any() and not trajectory.truncated[invalid].any()
    assert trajectory.scores["length"][invalid].isnan().all()
    assert trajectory.reward[trajectory.valid].all()


def test_a_step_that_ends_is_scored():
    _, trajectory, ended = walks()
    assert torch.equal(trajectory.scores["length"].isfinite(), ended)


@cores
def test_the_state_is_reset_after_an_end_in_its_rows_only(core):
    agent, trajectory, _ = walks(core=core)
    for t in range(1, 12):
        previous, current = trajectory.hook_outputs[t - 1], trajectory.hook_outputs[t]
        unchanged = (previous.identity == current.identity).flatten(1).all(1)
        assert torch.equal(unchanged, trajectory.valid[t - 1])  # the invalid step is the last one of its episode
        initial = agent.initial_state(trajectory.obs[t], seeded())._replace(identity=current.identity)
        initial = initial._replace(core=with_seeds_of(initial.core, current.core))
        continued, restarted = (agent(trajectory.obs[t], state)[0] for state in (previous, initial))
        assert_close(trajectory.output[t], torch.where(unchanged.unsqueeze(-1), continued, restarted))


@cores
def test_keep_state_keeps_the_state_over_episodes_of_variable_length(core):
    agent, trajectory, _ = walks(core=core, keep_state=True)
    for t in range(1, 12):
        assert_close(agent(trajectory.obs[t], trajectory.hook_outputs[t - 1])[0], trajectory.output[t])
        assert torch.equal(trajectory.hook_outputs[t].identity, trajectory.hook_outputs[0].identity)


def test_an_episode_is_over_when_all_experts_have_ended():
    task = Crowd(dtype=torch.float64)
    trajectory, _ = run(toy_agent(task), task, 12, batch=8)
    assert trajectory.reward.shape == trajectory.terminated.shape == (12, 8, 4)
    done = (trajectory.terminated | trajectory.truncated).all(-1)
    assert done.any() and torch.equal(~trajectory.valid[1:], done[:-1])


class Masked(Walk):
    """A walk with masks of present agents and allowed actions."""

    def _make_step(self, state, reward):
        true = torch.ones(len(reward), 1, dtype=torch.bool)
        return super()._make_step(state, reward)._replace(present=true.expand(-1, 4), action_mask=true)


def test_the_policy_receives_the_action_mask():
    task, masks = Masked(dtype=torch.float64), []
    run(toy_agent(task), task, 8, policy=lambda output, mask, *_: (masks.append(mask) or output, ()))
    assert len(masks) == 8 and all(mask.shape == (B, 1) for mask in masks)


# --- gradients


AUXILIARY = (
    "core.encoder.",
    "core.predictor",
    "core.decoder.",
    "core.prior",
    "core.correction",
    "core.mixture",
)  # parameters of auxiliary losses: rewards do not reach them


@each_value(core=CORES, bus=BUSES)
def test_gradient_flows_from_the_last_reward_to_the_parameters(core, bus):
    steps = 34 if core == "hcam" else 6  # two chunks of 16 steps must be complete for a choice between them
    task = game(steps=steps)
    agent = toy_agent(task, core=core, bus=bus)
    trajectory, _ = run(agent, task, steps)
    trajectory.reward[-1].sum().backward()
    gradients = {name: p.grad for name, p in agent.named_parameters() if not name.startswith(AUXILIARY)}
    if core in (*OF_MODELS, "merlin"):  # equal outputs, over which attention has no gradient; or inputs have none
        gradients = {name: gradient for name, gradient in gradients.items() if not name.startswith("bus.")}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values()), gradients
    assert all(gradient.any() for gradient in gradients.values())


def test_gradient_flows_through_the_observations_of_the_task():
    task = game(steps=4)
    agent = toy_agent(task, core="episodic")

    def last(push):
        """The last reward when the first guess is shifted, which the agent observes in the next step."""
        pushes = iter([push, 0, 0, 0])
        trajectory, _ = run(agent, task, 4, policy=lambda output, *_: (output + next(pushes), ()))
        return trajectory.reward[-1]

    push = torch.zeros(B, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(last(push).sum(), push)[0].all()
    assert torch.autograd.gradcheck(last, push)


def test_no_gradient_crosses_a_reset():
    task = game(steps=3)
    agent = toy_agent(task, core="episodic")
    pushes = [torch.zeros(B, 2, dtype=torch.float64, requires_grad=True) for _ in range(6)]
    remaining = iter(pushes)
    trajectory, _ = run(agent, task, 6, policy=lambda output, *_: (output + next(remaining), ()))
    gradients = torch.autograd.grad(trajectory.reward[-1].sum(), pushes, allow_unused=True)
    assert [gradient is not None and bool(gradient.any()) for gradient in gradients] == [False] * 3 + [True] * 3


def test_a_rollout_without_observations_is_otherwise_the_same():
    task = game()
    agent = toy_agent(task)
    whole, bare = (
        rollout(agent, task, initial_carry(agent, task, 3, seeded()), seeded(1), steps=4, keep_obs=keep)[0]
        for keep in (True, False)
    )
    assert bare.obs.shape == (4, 3, 0) and torch.equal(bare.reward, whole.reward)
    assert torch.equal(bare.output, whole.output)
