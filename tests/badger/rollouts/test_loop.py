"""The inner loop: frames, carries, restarts, gradients."""

import pytest
import torch
from torch.testing import assert_close

from badger import BUSES, CORES, RepeatPrevious, initial_carry, rollout
from pairwise import each_value, pairwise
from toys import Crowd, Walk, game, seeded, toy_agent

B = 3
cores = pytest.mark.parametrize("core", CORES)
walk = Walk(dtype=torch.float64)


def played(agent, task, steps, *, batch=B, carry=None, **options):
    carry = carry or initial_carry(agent, task, batch, seeded())
    return rollout(agent, task, carry, seeded(1), steps=steps, **options)


def same(a, b):
    """Whether two stretches of frames are equal, bit for bit."""
    for name in ("obs", "output", "action", "reward", "terminated", "truncated", "valid"):
        assert torch.equal(getattr(a, name), getattr(b, name)), name
    for name, score in a.scores.items():
        assert_close(b.scores[name], score, rtol=0, atol=0, equal_nan=True)


# --- frames


def test_frames_have_time_first():
    agent = toy_agent(game(dims=2))
    frames, _ = played(agent, game(dims=2), 5)
    assert frames.obs.shape == (5, B, 1)
    assert frames.output.shape == frames.action.shape == (5, B, 2)
    for part in (frames.reward, frames.terminated, frames.truncated, frames.valid, *frames.scores.values()):
        assert part.shape == (5, B)
    assert frames.scores.keys() == {"error", "final_error"}
    assert frames.losses == {} and frames.hook_outputs == []


def test_a_frame_is_what_was_seen_done_and_answered():
    task = game(steps=3)
    agent = toy_agent(task)
    frames, _ = played(agent, task, 3)
    world, step = task.reset(B, seeded())
    for t in range(3):
        assert torch.equal(frames.obs[t], step.obs)
        world, step = task.step(world, frames.action[t], seeded())
        assert torch.equal(frames.reward[t], step.reward)
        assert torch.equal(frames.scores["error"][t], step.scores["error"])
    assert frames.terminated.tolist() == [[False] * B] * 2 + [[True] * B]


def test_the_output_is_what_the_agent_says_to_the_observation():
    agent = toy_agent(game(), core="episodic", port="readout")
    carry = initial_carry(agent, game(), B, seeded())
    frames, after = played(agent, game(), 5, carry=carry)
    state = carry.agent_state
    for t in range(5):
        output, state = agent(frames.obs[t], state, seeded())
        assert torch.equal(output, frames.output[t])
    assert torch.equal(state.y, after.agent_state.y)


def test_auxiliary_losses_of_the_core_are_kept_for_each_step():
    agent = toy_agent(game())
    agent.core.losses = lambda state: {"size": state.h.square().sum((1, 2))}
    frames, _ = played(agent, game(), 5, watch=lambda s: s.core.h.square().sum((1, 2)))
    assert torch.equal(frames.losses["size"], torch.stack(frames.hook_outputs))


def test_a_policy_makes_the_action_from_the_output():
    task = RepeatPrevious(dtype=torch.float64)
    agent = toy_agent(task)

    def sample(output, legal, rng):
        assert legal is None
        return torch.multinomial(output.softmax(-1), 1, generator=rng).squeeze(-1)

    frames, _ = played(agent, task, 4, policy=sample)
    assert frames.action.shape == (4, B) and frames.action.dtype == torch.long
    assert frames.output.shape == (4, B, 4)


def test_watch_sees_the_state_after_each_step():
    agent = toy_agent(game())
    frames, after = played(agent, game(), 4, watch=lambda s: s.y)
    assert len(frames.hook_outputs) == 4
    assert torch.equal(frames.hook_outputs[-1], after.agent_state.y)
    assert_close(
        torch.stack(frames.hook_outputs).mean(2) @ agent.act.linear.weight.T + agent.act.linear.bias, frames.output
    )


@pytest.mark.parametrize("experts", [None, 6])
def test_a_start_asks_for_a_number_of_experts_or_none(experts):
    agent = toy_agent(game())
    assert initial_carry(agent, game(), B, seeded(), experts=experts).agent_state.y.shape[1] == (experts or 4)


# --- a carry is a value


PARTS = {core: (core, "attention") for core in CORES} | {bus: ("gru", bus) for bus in BUSES}
TASKS = {"restarting": game(steps=4), "fixed": game(steps=10), "variable": walk}


@pairwise(parts=PARTS, grad=[True, False], task=["restarting", "variable"])
def test_the_same_carry_gives_the_same_frames(parts, grad, task):
    task, (core, bus) = TASKS[task], PARTS[parts]
    agent = toy_agent(task, core=core, bus=bus)
    with torch.set_grad_enabled(grad):
        _, carry = played(agent, task, 3)
        first, after = played(agent, task, 4, carry=carry)
        again, then = played(agent, task, 4, carry=carry)
    same(first, again)
    assert torch.equal(after.agent_state.y, then.agent_state.y)


@each_value(parts=PARTS, task=TASKS)
def test_two_rollouts_of_five_are_one_of_ten(parts, task):
    task, (core, bus) = TASKS[task], PARTS[parts]
    agent = toy_agent(task, core=core, bus=bus)
    whole, end = played(agent, task, 10)
    rng, carry, halves = seeded(1), initial_carry(agent, task, B, seeded()), []
    for _ in range(2):
        frames, carry = rollout(agent, task, carry, rng, steps=5)
        halves.append(frames)
    for name in ("obs", "output", "reward", "terminated", "truncated", "valid"):
        assert torch.equal(torch.cat([getattr(half, name) for half in halves]), getattr(whole, name)), name
    assert torch.equal(carry.agent_state.y, end.agent_state.y)


# --- episodes of fixed length


def test_a_task_of_fixed_length_starts_anew_by_itself():
    task = game(steps=4)
    agent = toy_agent(task)
    frames, carry = played(agent, task, 10, watch=lambda s: s.identity)
    ends = [bool(end.all()) for end in frames.terminated]
    assert ends == [False, False, False, True] * 2 + [False] * 2
    assert frames.valid.all() and carry.elapsed == 2
    assert frames.scores["final_error"].isfinite().all(1).tolist() == ends
    told = [bool((frames.obs[t] == frames.scores["error"][t - 1].unsqueeze(-1)).all()) for t in range(1, 10)]
    assert told == [t % 4 != 0 for t in range(1, 10)]  # the first observation of an episode is of the zero guess


@cores
def test_an_agent_is_reset_with_the_task_of_fixed_length(core):
    task = game(steps=4)
    agent = toy_agent(task, core=core)
    frames, _ = played(agent, task, 10, watch=lambda s: s)
    for t in range(1, 10):
        assert torch.equal(frames.hook_outputs[t].identity, frames.hook_outputs[t - 1].identity) == (t % 4 != 0)
    opened = frames.hook_outputs[4]
    state = agent.initial_state(frames.obs[4], seeded())._replace(identity=opened.identity, address=opened.address)
    assert_close(agent(frames.obs[4], state)[0], frames.output[4])


@cores
def test_a_lifetime_keeps_its_state_over_episodes_of_fixed_length(core):
    task = game(steps=4)
    agent = toy_agent(task, core=core)
    carry = initial_carry(agent, task, B, seeded())
    frames, after = played(agent, task, 10, carry=carry, keep_state=True)
    state = carry.agent_state
    for t in range(10):
        output, state = agent(frames.obs[t], state)
        assert_close(output, frames.output[t])
    assert torch.equal(after.agent_state.identity, carry.agent_state.identity)


# --- episodes of variable length


def lives(**options):
    """12 steps of 8 walks, in which some end by termination and some by truncation."""
    agent = toy_agent(walk, core=options.pop("core", "gru"))
    frames, _ = played(agent, walk, 12, batch=8, watch=lambda s: s, **options)
    ended = frames.terminated | frames.truncated
    assert frames.terminated.any() and frames.truncated.any() and not (frames.terminated & frames.truncated).any()
    assert (ended[:6].sum(0) >= 1).all()
    return agent, frames, ended


def test_the_frame_after_an_end_is_not_valid_and_all_others_are():
    _, frames, ended = lives()
    assert frames.valid[0].all()
    assert torch.equal(~frames.valid[1:], ended[:-1])


def test_the_agent_sees_the_final_observation_and_then_a_new_episode():
    _, frames, ended = lives()
    clock, lengths = frames.obs[..., 1], frames.scores["length"]
    ends = ended[:-2]
    assert torch.equal(clock[1:-1][ends], lengths[:-2][ends])  # the final observation, of the time of the end
    assert not clock[2:][ends].any()  # the first of the next episode
    going = ~ended[:-1] & frames.valid[:-1]
    assert torch.equal(clock[1:][going], clock[:-1][going] + 1)


def test_the_action_after_an_end_is_ignored():
    _, frames, _ = lives()
    void = ~frames.valid
    assert not frames.reward[void].any()
    assert not frames.terminated[void].any() and not frames.truncated[void].any()
    assert frames.scores["length"][void].isnan().all()
    assert frames.reward[frames.valid].all()


def test_a_step_that_ends_is_scored():
    _, frames, ended = lives()
    assert torch.equal(frames.scores["length"].isfinite(), ended)


@cores
def test_the_state_is_reset_after_an_end_in_its_rows_only(core):
    agent, frames, _ = lives(core=core)
    for t in range(1, 12):
        before, now = frames.hook_outputs[t - 1], frames.hook_outputs[t]
        kept = (before.identity == now.identity).flatten(1).all(1)
        assert torch.equal(kept, frames.valid[t - 1])  # the not valid frame is the last of its episode
        fresh = agent.initial_state(frames.obs[t], seeded())._replace(identity=now.identity)
        continued, anew = (agent(frames.obs[t], state)[0] for state in (before, fresh))
        assert_close(frames.output[t], torch.where(kept.unsqueeze(-1), continued, anew))


@cores
def test_a_lifetime_keeps_its_state_over_episodes_of_variable_length(core):
    agent, frames, _ = lives(core=core, keep_state=True)
    for t in range(1, 12):
        assert_close(agent(frames.obs[t], frames.hook_outputs[t - 1])[0], frames.output[t])
        assert torch.equal(frames.hook_outputs[t].identity, frames.hook_outputs[0].identity)


def test_an_episode_is_over_when_it_is_for_every_expert():
    task = Crowd(dtype=torch.float64)
    frames, _ = played(toy_agent(task), task, 12, batch=8)
    assert frames.reward.shape == frames.terminated.shape == (12, 8, 4)
    over = (frames.terminated | frames.truncated).all(-1)
    assert over.any() and torch.equal(~frames.valid[1:], over[:-1])


class Masked(Walk):
    """A walk that tells who is alive and what is legal."""

    def _make_step(self, state, reward):
        true = torch.ones(len(reward), 1, dtype=torch.bool)
        return super()._make_step(state, reward)._replace(present=true.expand(-1, 4), legal=true)


def test_the_policy_is_told_what_is_legal():
    task, told = Masked(dtype=torch.float64), []
    played(toy_agent(task), task, 8, policy=lambda output, legal, rng: told.append(legal) or output)
    assert len(told) == 8 and all(legal.shape == (B, 1) for legal in told)


# --- gradients


AUXILIARY = ("core.code.", "core.ahead", "core.decoder.")  # parameters of auxiliary losses: rewards do not reach them


@each_value(core=CORES, bus=BUSES)
def test_gradient_flows_from_the_last_reward_to_the_parameters(core, bus):
    task = game(steps=6)
    agent = toy_agent(task, core=core, bus=bus)
    frames, _ = played(agent, task, 6)
    frames.reward[-1].sum().backward()
    slopes = {name: p.grad for name, p in agent.named_parameters() if not name.startswith(AUXILIARY)}
    assert all(slope is not None and slope.isfinite().all() for slope in slopes.values()), slopes
    assert all(slope.any() for slope in slopes.values())


def test_gradient_flows_through_the_feedback_of_the_task():
    task = game(steps=4)
    agent = toy_agent(task, core="episodic")

    def last(push):
        """The last error when the first guess alone is pushed: the agent learns of it by the next observation."""
        pushes = iter([push, 0, 0, 0])
        frames, _ = played(agent, task, 4, policy=lambda output, legal, rng: output + next(pushes))
        return frames.reward[-1]

    push = torch.zeros(B, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.grad(last(push).sum(), push)[0].all()
    assert torch.autograd.gradcheck(last, push)


def test_no_gradient_crosses_a_reset():
    task = game(steps=3)
    agent = toy_agent(task, core="episodic")
    pushes = [torch.zeros(B, 2, dtype=torch.float64, requires_grad=True) for _ in range(6)]
    left = iter(pushes)
    frames, _ = played(agent, task, 6, policy=lambda output, legal, rng: output + next(left))
    slopes = torch.autograd.grad(frames.reward[-1].sum(), pushes, allow_unused=True)
    assert [slope is not None and bool(slope.any()) for slope in slopes] == [False] * 3 + [True] * 3
