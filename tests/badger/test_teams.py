"""Environments of several agents: teams of experts, absent agents, and which actions count. `Herd` is an example."""

from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from badger import A2C, Sampled, act, evaluate, generator, initial_carry, rollout, sense
from badger.policies.policies import log_probability
from badger.recipes.settings import Setup
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


def run_team(agent, world=WORLD, steps=12, *, batch=B, modify_state=None, seed=0, **options):
    carry = initial_carry(agent, world, batch, seeded(seed))
    carry = carry if modify_state is None else carry._replace(agent_state=modify_state(carry.agent_state))
    return rollout(agent, world, carry, seeded(1), POLICY, steps=steps, **options)


def linear(y):
    return torch.randn(y, generator=seeded(3), dtype=torch.float64)


# --- senses and heads


@pytest.mark.parametrize("experts", [3, 6, 9])
def test_expert_e_receives_the_observation_of_agent_e_mod_p(experts):
    obs = linear((B, P, 2))
    sensed = sense.Team(2)(obs, experts, 1)
    for e in range(experts):
        assert torch.equal(sensed[:, e], obs[:, e % P])


def test_observations_of_a_team_can_be_scaled():
    obs = linear((B, P, 2))
    assert torch.equal(sense.Team(2, scale=4.0)(obs, 6, 1), 4 * sense.Team(2)(obs, 6, 1))


@pytest.mark.parametrize("shape", [(B, 2), (B, P, 3)])
def test_observations_of_another_shape_raise(shape):
    with pytest.raises(ValueError, match=r"obs .*, want \(batch, agents, 2\)"):
        sense.Team(2)(torch.zeros(shape), 6, 1)


def test_the_output_of_an_agent_is_the_mean_of_its_team():
    port, y = act.Team(Y, 2, P).double(), linear((B, 6, Y))
    said = port(y, None, None)
    assert said.shape == (B, P, 2)
    for p in range(P):
        assert_close(said[:, p], (port.linear(y[:, p]) + port.linear(y[:, p + P])) / 2)


def test_absent_experts_are_masked_out_and_an_empty_team_returns_zero():
    port, y = act.Team(Y, 2, P).double(), linear((B, 6, Y))
    present = torch.tensor([True, False, False, True, True, False]).expand(B, -1)
    said = port(y, None, present)
    assert_close(said[:, 0], port(y, None, None)[:, 0])
    assert_close(said[:, 1], port.linear(y[:, 4]))
    assert not said[:, 2].any()


@pytest.mark.parametrize("experts", [0, 2, 4, 7])
def test_teams_have_equal_sizes(experts):
    port = act.Team(Y, 2, P)
    for call in (
        lambda: team_size(experts, P),
        lambda: port.make_assignment(LIKE, experts, 2, seeded()),
        lambda: port.extend_assignment(None, LIKE, experts, seeded()),
        lambda: sense.Team(2)(torch.zeros(B, P, 2), experts, 2),
    ):
        with pytest.raises(ValueError, match=f"experts={experts}, want a multiple of 3.*3 for one each"):
            call()


def test_a_team_has_a_fixed_number_of_outputs():
    with pytest.raises(ValueError, match=r"outputs=3, want 2: act.Team"):
        act.Team(Y, 2, P).make_assignment(LIKE, 6, 3, seeded())


def test_the_value_of_each_agent_follows_its_outputs_and_is_zero_at_initialization():
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
def test_a_critic_that_does_not_fit_raises(port, critic, wanted):
    with pytest.raises(ValueError, match=wanted):
        act.WithCritic(port, critic)


# --- absent agents


def with_nonzero_absent_obs(world=WORLD):
    """The same environment, with nonzero observations of absent agents."""

    @dataclass(frozen=True)
    class NonzeroAbsent(type(world)):
        def _make_step(self, state, reward):
            step = super()._make_step(state, reward)
            return step._replace(obs=torch.where(step.present.unsqueeze(-1), step.obs, 100))

    return NonzeroAbsent(world.steps, world.agents, dtype=world.dtype)


@pytest.mark.parametrize("core", ["gru", "episodic", "episodic_shared", "dnc"])
def test_absent_agents_do_not_influence_a_step(core):
    agent = herders(core=core)
    plain, changed = (run_team(agent, world, hook=lambda s: s) for world in (WORLD, with_nonzero_absent_obs()))
    present = torch.stack(plain[0].present)
    assert not present.all()
    assert torch.equal(plain[0].output, changed[0].output) and torch.equal(plain[0].reward, changed[0].reward)
    assert plain[0].output.isfinite().all() and not plain[0].output[~present].any()
    for t in range(1, 12):
        before, now = plain[0].hook_outputs[t - 1], plain[0].hook_outputs[t]
        out = ~present[t].repeat(1, 2) & plain[0].valid[t - 1].unsqueeze(-1)  # whose state was not reset
        assert torch.equal(now.y[out], before.y[out]) and not now.inbox[out].any()


def test_an_agent_that_appears_later_starts_from_the_initial_state():
    agent = herders(bus="silent")
    trajectory, _ = run_team(agent, steps=2, hook=lambda s: s)
    late = P - 1  # comes after the first step
    assert not trajectory.present[0][:, late].any() and trajectory.present[1][:, late].all()
    fresh = initial_carry(agent, WORLD, B, seeded()).agent_state
    output, _ = agent(trajectory.obs[1], fresh, seeded())
    assert_close(output[:, late], trajectory.output[1, :, late])


def test_absence_is_no_lesion_and_does_not_undo_one():
    agent = herders()
    assert run_team(agent)[1].agent_state.present is None
    trajectory, carry = run_team(agent, modify_state=lambda s: agent.remove(s, [1]), hook=lambda s: s.present)
    assert torch.equal(carry.agent_state.present, torch.arange(6).expand(B, -1) != 1)
    assert not any(present[:, 1].any() for present in trajectory.hook_outputs)
    assert all(
        torch.equal(present[:, [0, 2, 3, 4, 5]], alive.repeat(1, 2)[:, [0, 2, 3, 4, 5]])
        for present, alive in zip(trajectory.hook_outputs, trajectory.present, strict=True)
    )


def test_an_agent_without_a_team_returns_zero_and_the_episode_continues():
    agent = herders()
    trajectory, _ = run_team(agent, modify_state=lambda s: agent.remove(s, [0, 3]))
    assert not trajectory.output[:, :, 0].any() and trajectory.output[:, :, 1].any()
    assert trajectory.output.isfinite().all() and trajectory.reward.isfinite().all()


def test_added_experts_enlarge_all_teams():
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
def test_the_size_of_a_team_can_change_after_training(experts):
    scores = evaluate(herders(), WORLD, 3, seeded(), POLICY, experts=experts)
    assert all(score.isfinite().all() for score in scores.values())


# --- actions that count


def used_actions(world, trajectory, row):
    """The (t, p) of one row whose actions were used, from the recorded ends and masks."""
    acted, ended = set(), [False] * world.agents
    for t in range(len(trajectory.reward)):
        if not trajectory.valid[t, row]:
            ended = [False] * world.agents
            continue
        for p in range(world.agents):
            if trajectory.present[t][row, p] and not ended[p]:
                acted.add((t, p))
            ended[p] = ended[p] or bool(trajectory.terminated[t, row, p] | trajectory.truncated[t, row, p])
    return acted


def test_the_active_mask_marks_the_actions_that_were_used():
    trajectory, _ = run_team(herders(), batch=16)
    for row in range(16):
        assert {(t, p) for t, p in trajectory.active[:, row].nonzero().tolist()} == used_actions(WORLD, trajectory, row)
    assert torch.equal(trajectory.active, (trajectory.reward != 0) & trajectory.valid.unsqueeze(-1))  # of this world
    seen = torch.stack(trajectory.present) & trajectory.valid.unsqueeze(-1)
    assert (seen & ~trajectory.active).any()  # truncated agents observe one more step


def test_with_a_single_agent_the_active_mask_is_the_valid_mask():
    task = game()
    trajectory, _ = rollout(toy_agent(task), task, initial_carry(toy_agent(task), task, B, seeded()), seeded(), steps=4)
    assert torch.equal(trajectory.active, trajectory.valid) and trajectory.present == []


def test_an_episode_is_over_when_all_agents_have_ended():
    trajectory, _ = run_team(herders(), batch=16)
    over = (trajectory.terminated | trajectory.truncated).all(-1)
    assert over.any() and torch.equal(~trajectory.valid[1:], over[:-1])


def test_a_policy_applies_the_action_mask_of_each_agent():
    trajectory, _ = run_team(herders(), batch=16)
    masks = torch.stack(trajectory.action_masks)
    assert not masks.all() and masks.gather(-1, trajectory.action.unsqueeze(-1)).all()
    by_agent = [
        log_probability(trajectory.output[:, :, p], trajectory.action[:, :, p], WORLD.action_space, masks[:, :, p])
        for p in range(P)
    ]
    assert torch.equal(
        log_probability(trajectory.output, trajectory.action, WORLD.action_space, masks), torch.stack(by_agent, -1)
    )


class Missed(Herd):
    """In every other row the last agent ends before it appears."""

    def reset(self, batch, rng):
        state, step = super().reset(batch, rng)
        state.end[::2, -1] = 1
        return state, self._make_step(state, step.reward)


def test_the_return_is_the_mean_over_the_agents_that_acted():
    world = Missed(agents=2, dtype=torch.float64)
    agent = herders(world)
    returns = evaluate(agent, world, 8, seeded(), POLICY)["return"]
    with torch.no_grad():
        trajectory, _ = rollout(
            agent, world, initial_carry(agent, world, 8, rng := seeded()), rng, POLICY, steps=world.steps
        )
    for row in range(8):
        end = [*trajectory.valid[:, row].tolist(), False]
        acted = [(t, p) for t, p in used_actions(world, trajectory, row) if t < end.index(False)]
        totals = [sum(trajectory.reward[t, row, p].item() for t, who in acted if who == p) for p in range(2)]
        assert len({who for _, who in acted}) == 1 + row % 2
        some = [total for p, total in enumerate(totals) if p in {who for _, who in acted}]
        assert returns[row].item() == pytest.approx(sum(some) / len(some))


def test_checkpointed_rollouts_have_the_same_masks():
    agent = herders()
    carry = initial_carry(agent, WORLD, B, seeded())
    whole, _ = rollout(agent, WORLD, carry, seeded(1), POLICY, steps=7)
    parts, _ = checkpointed_rollout(agent, WORLD, carry, seeded(1), POLICY, steps=7, grad_checkpoint_steps=3)
    assert torch.equal(torch.stack(whole.present), torch.stack(parts.present))
    assert torch.equal(whole.active, parts.active) and torch.equal(whole.output, parts.output)


# --- recipes


def run_of(world=WORLD, **flags):
    return Setup(**{"batch": 2, "message_size": 4, **flags}).make_run(world, lambda size: GRU(size, 6), learner=A2C)


def test_flags_make_teams_for_an_environment_of_several_agents():
    agent = run_of(experts=6).learner.agent
    assert isinstance(agent.sense, sense.Team) and isinstance(agent.act.base, act.Team)
    assert isinstance(agent.act.critic, act.Team) and agent.act.critic.outputs == 1
    assert agent.experts == 6 and agent.identity_size == 8


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        ({"experts": 4}, "experts=4, want a multiple of 3"),
        ({"experts": (3, 6)}, r"experts=\(3, 6\), want one number that is a multiple of 3"),
        ({"experts": 3, "act": "readout"}, "act=readout: each of the 3 agents"),
    ],
)
def test_flags_that_do_not_fit_the_environment_raise(flags, wanted):
    with pytest.raises(ValueError, match=wanted):
        run_of(**flags)
