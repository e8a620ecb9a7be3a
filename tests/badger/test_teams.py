"""Worlds of several agents: who plays for whom, who is there, and what of it counts. `Herd` is such a world."""

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from badger import A2C, Sampled, Setup, act, evaluate, generator, initial_carry, rollout, sense
from badger.policies.policies import log_probability
from badger.rng import drawing_from
from badger.rollouts.checkpointing import checkpointed_rollout
from badger.teams import team_size
from experts import GRU
from toys import Herd, game, seeded, toy_agent

B, P, Y = 4, 3, 5
WORLD = Herd(dtype=torch.float64)
POLICY = Sampled(WORLD.action_space)
LIKE = torch.zeros(B, 1, dtype=torch.float64)


def herders(world=WORLD, *, team=2, bus="attention", core="gru", seed=0):
    """An agent of P teams, and their critic."""
    agent = toy_agent(world, core=core, bus=bus, experts=team * world.agents, seed=seed)
    with drawing_from(generator(seed, "ports")):
        ports = [act.Team(agent.core.output_size, size, world.agents).double() for size in (world.action_space.size, 1)]
    agent.sense, agent.act = sense.Team(world.obs_size), act.WithCritic(*ports)
    return agent


def played(agent, world=WORLD, steps=12, *, batch=B, change=None, seed=0, **options):
    carry = initial_carry(agent, world, batch, seeded(seed))
    carry = carry if change is None else carry._replace(agent_state=change(carry.agent_state))
    return rollout(agent, world, carry, seeded(1), POLICY, steps=steps, **options)


def linear(y):
    return torch.randn(y, generator=seeded(3), dtype=torch.float64)


# --- ports


@pytest.mark.parametrize("experts", [3, 6, 9])
def test_expert_e_senses_what_agent_e_mod_p_does(experts):
    obs = linear((B, P, 2))
    sensed = sense.Team(2)(obs, experts, 1)
    for e in range(experts):
        assert torch.equal(sensed[:, e], obs[:, e % P])


def test_what_a_team_senses_can_be_scaled():
    obs = linear((B, P, 2))
    assert torch.equal(sense.Team(2, scale=4.0)(obs, 6, 1), 4 * sense.Team(2)(obs, 6, 1))


@pytest.mark.parametrize("shape", [(B, 2), (B, P, 3)])
def test_observations_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"obs .*, want \(batch, agents, 2\)"):
        sense.Team(2)(torch.zeros(shape), 6, 1)


def test_an_agent_acts_by_the_mean_of_its_team():
    port, y = act.Team(Y, 2, P).double(), linear((B, 6, Y))
    said = port(y, None, None)
    assert said.shape == (B, P, 2)
    for p in range(P):
        assert_close(said[:, p], (port.linear(y[:, p]) + port.linear(y[:, p + P])) / 2)


def test_the_absent_have_no_say_in_their_team_and_an_empty_team_puts_out_0():
    port, y = act.Team(Y, 2, P).double(), linear((B, 6, Y))
    present = torch.tensor([True, False, False, True, True, False]).expand(B, -1)
    said = port(y, None, present)
    assert_close(said[:, 0], port(y, None, None)[:, 0])
    assert_close(said[:, 1], port.linear(y[:, 4]))
    assert not said[:, 2].any()


@pytest.mark.parametrize("experts", [0, 2, 4, 7])
def test_teams_are_of_one_size(experts):
    port = act.Team(Y, 2, P)
    for refused in (
        lambda: team_size(experts, P),
        lambda: port.make_assignment(LIKE, experts, 2, seeded()),
        lambda: port.extend_assignment(None, LIKE, experts, seeded()),
        lambda: sense.Team(2)(torch.zeros(B, P, 2), experts, 2),
    ):
        with pytest.raises(ValueError, match=f"experts={experts}, want a multiple of 3.*3 for one each"):
            refused()


def test_a_team_has_a_fixed_number_of_outputs():
    with pytest.raises(ValueError, match=r"outputs=3, want 2: act.Team"):
        act.Team(Y, 2, P).make_assignment(LIKE, 6, 3, seeded())


def test_the_value_of_each_agent_follows_its_action_and_is_nothing_at_first():
    port = act.WithCritic(act.Team(Y, 2, P), act.Team(Y, 1, P)).double()
    y = linear((B, 6, Y))
    assert not port(y, None, None)[..., -1].any()
    torch.nn.init.constant_(port.critic.linear.weight, 0.5)
    said = port(y, None, None)
    assert torch.equal(said[..., :2], port.base(y, None, None))
    assert_close(said[..., -1], 0.5 * y.unflatten(1, (2, P)).mean(1).sum(-1))


@pytest.mark.parametrize(
    ("port", "critic", "wanted"),
    [
        (act.Team(Y, 2, P), None, r"act.Mean\(5, 1\), want act.Team\(5, 1, 3\)"),
        (act.Team(Y, 2, P), act.Team(Y, 1, 2), r"act.Team\(5, 1, 2\), want act.Team\(5, 1, 3\)"),
        (act.Team(Y, 2, P), act.Team(Y, 2, P), r"act.Team\(5, 2, 3\), want act.Team\(5, 1, 3\)"),
        (act.Mean(Y, 2), act.Team(Y, 1, P), r"act.Team\(5, 1, 3\), want act.Mean\(5, 1\)"),
        (act.Mean(Y, 2), act.Mean(4, 1), r"act.Mean\(4, 1\), want act.Mean\(5, 1\)"),
    ],
)
def test_a_critic_that_does_not_fit_is_refused(port, critic, wanted):
    with pytest.raises(ValueError, match=wanted):
        act.WithCritic(port, critic)


# --- who is there


def shouting(world=WORLD):
    """The same world, but what the absent would see is not 0."""

    @dataclass(frozen=True)
    class Shouting(type(world)):
        def _make_step(self, state, reward):
            step = super()._make_step(state, reward)
            return step._replace(obs=torch.where(step.present.unsqueeze(-1), step.obs, 100))

    return Shouting(world.steps, world.agents, dtype=world.dtype)


@pytest.mark.parametrize("core", ["gru", "episodic", "episodic_shared", "dnc"])
def test_the_absent_have_no_part_in_a_step(core):
    agent = herders(core=core)
    plain, loud = (played(agent, world, watch=lambda s: s) for world in (WORLD, shouting()))
    present = torch.stack(plain[0].present)
    assert not present.all()
    assert torch.equal(plain[0].output, loud[0].output) and torch.equal(plain[0].reward, loud[0].reward)
    assert plain[0].output.isfinite().all() and not plain[0].output[~present].any()
    for t in range(1, 12):
        before, now = plain[0].hook_outputs[t - 1], plain[0].hook_outputs[t]
        out = ~present[t].repeat(1, 2) & plain[0].valid[t - 1].unsqueeze(-1)  # whose state was not reset
        assert torch.equal(now.y[out], before.y[out]) and not now.inbox[out].any()


def test_who_comes_later_begins_as_one_who_has_not_lived():
    agent = herders(bus="silent")
    frames, _ = played(agent, steps=2, watch=lambda s: s)
    late = P - 1  # comes after the first step
    assert not frames.present[0][:, late].any() and frames.present[1][:, late].all()
    fresh = initial_carry(agent, WORLD, B, seeded()).agent_state
    output, _ = agent(frames.obs[1], fresh, seeded())
    assert_close(output[:, late], frames.output[1, :, late])


def test_to_be_away_from_the_world_is_no_lesion_and_does_not_heal_one():
    agent = herders()
    assert played(agent)[1].agent_state.present is None
    frames, carry = played(agent, change=lambda s: agent.remove(s, [1]), watch=lambda s: s.present)
    assert torch.equal(carry.agent_state.present, torch.arange(6).expand(B, -1) != 1)
    assert not any(seen[:, 1].any() for seen in frames.hook_outputs)
    assert all(
        torch.equal(seen[:, [0, 2, 3, 4, 5]], alive.repeat(1, 2)[:, [0, 2, 3, 4, 5]])
        for seen, alive in zip(frames.hook_outputs, frames.present, strict=True)
    )


def test_an_agent_whose_team_is_gone_puts_out_0_and_the_world_goes_on():
    agent = herders()
    frames, _ = played(agent, change=lambda s: agent.remove(s, [0, 3]))
    assert not frames.output[:, :, 0].any() and frames.output[:, :, 1].any()
    assert frames.output.isfinite().all() and frames.reward.isfinite().all()


def test_newcomers_make_all_teams_larger():
    agent = herders(team=1, bus="silent")
    state = agent.initial_state(torch.zeros(B, P, 3, dtype=torch.float64), seeded())
    obs = linear((B, P, 3))
    before, _ = agent(obs, state)
    grown = agent.add(state, P, obs, seeded(4))
    output, after = agent(obs, grown)
    assert output.shape == (B, P, 4) and after.y.shape[1] == 2 * P
    alone, _ = agent(obs, agent.remove(grown, [3, 4, 5]))
    assert_close(alone, before)
    with pytest.raises(ValueError, match="experts=4, want a multiple of 3"):
        agent.add(state, 1, obs, seeded())


@pytest.mark.parametrize("experts", [3, 12, 30])
def test_the_size_of_a_team_is_free_after_training(experts):
    scores = evaluate(herders(), WORLD, 3, seeded(), POLICY, experts=experts)
    assert all(score.isfinite().all() for score in scores.values())


# --- what counts


def lives(world, frames, row):
    """For one row, step by step: (t, p) whose action the world took, worked out from what it told."""
    acted, ended = set(), [False] * world.agents
    for t in range(len(frames.reward)):
        if not frames.valid[t, row]:
            ended = [False] * world.agents
            continue
        for p in range(world.agents):
            if frames.present[t][row, p] and not ended[p]:
                acted.add((t, p))
            ended[p] = ended[p] or bool(frames.terminated[t, row, p] | frames.truncated[t, row, p])
    return acted


def test_frames_tell_whose_action_the_world_took():
    frames, _ = played(herders(), batch=16)
    for row in range(16):
        assert {(t, p) for t, p in frames.active[:, row].nonzero().tolist()} == lives(WORLD, frames, row)
    assert torch.equal(frames.active, (frames.reward != 0) & frames.valid.unsqueeze(-1))  # of this world
    seen = torch.stack(frames.present) & frames.valid.unsqueeze(-1)
    assert (seen & ~frames.active).any()  # who was cut short sees once more where it stands


def test_an_action_counts_where_it_is_valid_in_a_world_of_one_actor():
    task = game()
    frames, _ = rollout(toy_agent(task), task, initial_carry(toy_agent(task), task, B, seeded()), seeded(), steps=4)
    assert torch.equal(frames.active, frames.valid) and frames.present == []


def test_an_episode_is_over_when_it_is_for_every_agent():
    frames, _ = played(herders(), batch=16)
    over = (frames.terminated | frames.truncated).all(-1)
    assert over.any() and torch.equal(~frames.valid[1:], over[:-1])


def test_a_policy_chooses_for_each_agent_what_is_legal_for_it():
    frames, _ = played(herders(), batch=16)
    legal = torch.stack(frames.action_masks)
    assert not legal.all() and legal.gather(-1, frames.action.unsqueeze(-1)).all()
    apart = [
        log_probability(frames.output[:, :, p], frames.action[:, :, p], WORLD.action_space, legal[:, :, p])
        for p in range(P)
    ]
    assert torch.equal(log_probability(frames.output, frames.action, WORLD.action_space, legal), torch.stack(apart, -1))


class Missed(Herd):
    """In every other row the last agent would have ended before it came."""

    def reset(self, batch, rng):
        state, step = super().reset(batch, rng)
        state.end[::2, -1] = 1
        return state, self._make_step(state, step.reward)


def test_the_return_is_the_mean_over_the_agents_that_acted():
    world = Missed(agents=2, dtype=torch.float64)
    agent = herders(world)
    found = evaluate(agent, world, 8, seeded(), POLICY)["return"]
    with torch.no_grad():
        frames, _ = rollout(
            agent, world, initial_carry(agent, world, 8, rng := seeded()), rng, POLICY, steps=world.steps
        )
    for row in range(8):
        end = [*frames.valid[:, row].tolist(), False]
        acted = [(t, p) for t, p in lives(world, frames, row) if t < end.index(False)]
        totals = [sum(frames.reward[t, row, p].item() for t, who in acted if who == p) for p in range(2)]
        assert len({who for _, who in acted}) == 1 + row % 2
        some = [total for p, total in enumerate(totals) if p in {who for _, who in acted}]
        assert found[row].item() == pytest.approx(sum(some) / len(some))


def test_segments_tell_what_the_whole_does():
    agent = herders()
    carry = initial_carry(agent, WORLD, B, seeded())
    whole, _ = rollout(agent, WORLD, carry, seeded(1), POLICY, steps=7)
    parts, _ = checkpointed_rollout(agent, WORLD, carry, seeded(1), POLICY, steps=7, grad_checkpoint_steps=3)
    assert torch.equal(torch.stack(whole.present), torch.stack(parts.present))
    assert torch.equal(whole.active, parts.active) and torch.equal(whole.output, parts.output)


# --- set up from flags


def run_of(world=WORLD, **flags):
    return Setup(**{"batch": 2, "message_size": 4, **flags}).make_run(world, lambda size: GRU(size, 6), learner=A2C)


def test_flags_make_teams_for_a_world_of_several_agents():
    agent = run_of(experts=6).learner.agent
    assert isinstance(agent.sense, sense.Team) and isinstance(agent.act.port, act.Team)
    assert isinstance(agent.act.value, act.Team) and agent.act.value.outputs == 1
    assert agent.experts == 6 and agent.identity_size == 8


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ({"experts": 4}, "experts=4, want a multiple of 3"),
        ({"experts": (3, 6)}, r"experts=\(3, 6\), want one number that is a multiple of 3"),
        ({"experts": 3, "act": "readout"}, "act=readout: each of the 3 agents of this world acts by its own team"),
    ],
)
def test_flags_that_do_not_fit_the_world_are_refused(flags, wanted):
    with pytest.raises(ValueError, match=wanted):
        run_of(**flags)
