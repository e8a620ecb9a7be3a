"""World Models: its stages, what each of them changes, its controller, and refusals."""

import math
from dataclasses import dataclass
from functools import partial

import pytest
import torch
from torch.testing import assert_close

import badger
from badger import Agent, act, train
from badger.evaluation.evaluate import evaluate
from badger.learners import WorldModels
from badger.learners.imagination.controller import imagine_members, play_members
from badger.learners.imagination.world_models import RESERVED
from badger.learners.offline.step_layout import step_layout
from badger.policies.deterministic import deterministic_policy
from badger.rng import drawing_from
from badger.sense import Broadcast, Embedding
from badger.testing.core.cases import through_a_file
from comms import Silent
from experts import GRU, MDNRNN, RSSM
from tasks import PreviousActionReward
from toys import Steps, Walk, seeded

QUICK = {
    "random_steps": 60, "vision_steps": 1, "memory_steps": 1, "train_length": 4, "overlap": 2, "hidden_size": 8,
    "batch": 2, "gradient_steps": 2, "replay_batch": 4, "population": 6,
}  # fmt: skip
TASK = PreviousActionReward(Steps(dtype=torch.float64))


def agent_for(task, sense=Broadcast, **options):
    with drawing_from(seeded(0)):
        core = MDNRNN(task.obs_size, 8, layout=step_layout(task), latent_size=2)
        parts = {
            "sense": sense(task.obs_size),
            "core": core,
            "bus": Silent(8),
            "act": act.Mean(8, task.action_space.size),
        }
        return Agent(**parts | {"experts": 1, "identity_size": 0} | options).double()


def world_models(task=TASK, **options):
    return WorldModels(agent_for(task), task, **QUICK | options)


def changed_by_an_update(learner):
    before = {name: p.detach().clone() for name, p in learner.agent.named_parameters()}
    assert learner.update()["finite"]
    return {name.split(".")[1] for name, p in learner.agent.named_parameters() if not p.equal(before[name])}


@pytest.mark.parametrize("kind", [Steps, Walk])
def test_each_stage_changes_its_own_part_alone(kind):
    learner = world_models(PreviousActionReward(kind(dtype=torch.float64)))
    assert changed_by_an_update(learner) == {"encoder", "decoder"}
    assert changed_by_an_update(learner) == {"memory", "mixture"}
    assert changed_by_an_update(learner) == {"linear"}
    assert learner.stage == "controller"


def test_a_model_may_stay_as_it_was_drawn():
    learner = world_models(vision_steps=0, memory_steps=0)
    assert changed_by_an_update(learner) == {"linear"} and not len(learner.replay_buffer)


def test_random_episodes_are_collected_once():
    learner = world_models(vision_steps=2)
    first, second = learner.update(), learner.update()
    assert 40 <= first["env_steps"] <= 60 and second["env_steps"] == first["env_steps"]
    assert first["episodes"] > 0 and second["episodes"] == 0 and second["return"] == first["return"]


def test_steps_of_members_are_counted():
    learner = world_models(vision_steps=0, memory_steps=0)
    metrics = learner.update()
    assert metrics["episodes"] == 12 and 12 <= metrics["env_steps"] <= 12 * TASK.steps


def test_a_member_plays_the_return_of_its_own_weights():
    """A controller that always walks to one side, as its only weight is a bias: rewards are minus squared places."""
    task = PreviousActionReward(Walk(dtype=torch.float64))
    agent = agent_for(task)
    numbers = sum(p.numel() for p in agent.act.parameters())
    members = torch.zeros(3, numbers, dtype=torch.float64)
    members[:, -1] = torch.tensor([-1.0, 0.0, 5.0])
    played = play_members(
        agent, task, members, deterministic_policy(task.action_space), seeded(1), episodes=200, learner=None,
        reserved=RESERVED,
    )  # fmt: skip
    assert played.return_[1] > played.return_[2] and played.return_[0] > played.return_[2]
    assert 600 <= played.steps <= 600 * task.steps and played.totals["length"][1] == 600


def test_imagined_returns_are_rewards_by_the_probability_that_they_are_reached():
    learner = world_models()
    for layer in (learner.heads.continues[-1], learner.heads.reward[-1]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    torch.nn.init.constant_(learner.heads.reward[-1].bias[70], 1e3)  # so that this bin is certain
    reward = float(learner.heads.two_hot.bins[70])
    start = learner.core.initial_state(torch.zeros(2, 1, TASK.obs_size, dtype=torch.float64))
    members = learner.strategy.ask(seeded())
    got = imagine_members(learner.agent, TASK, members, learner.eval_policy, seeded(), start, learner.heads, steps=3)
    assert_close(got, torch.full((6,), 1.75 * reward, dtype=torch.float64))


def test_a_controller_may_be_evolved_in_imagination_alone():
    learner = world_models(imagine_steps=5)
    for _ in range(2):
        learner.update()
    steps = learner.env_steps
    metrics = learner.update()
    assert learner.env_steps == steps and metrics["episodes"] == 0 and metrics["imagined_return"].isfinite()
    assert metrics["return"].isfinite() and "best_return" not in metrics


@pytest.mark.parametrize("imagine_steps", [None, 4])
@pytest.mark.parametrize("steps", range(1, 5))
def test_a_run_is_continued_exactly_from_each_stage(steps, imagine_steps):
    first, second = (world_models(vision_steps=2, imagine_steps=imagine_steps) for _ in range(2))
    for _ in range(steps):
        first.update()
    second.load_state_dict(through_a_file(first.state_dict()))
    for _ in range(5 - steps):
        a, b = first.update(), second.update()
        assert a.keys() == b.keys() and all(float(a[name]) == float(b[name]) for name in a)
    for a, b in zip(first.agent.parameters(), second.agent.parameters(), strict=True):
        assert a.equal(b)


def test_sequences_are_saved_as_long_as_they_are_needed():
    learner = world_models()
    learner.update()
    assert learner.state_dict()["replay_buffer"] is not None
    learner.update()
    assert learner.state_dict()["replay_buffer"] is None


def test_sequences_of_another_process_are_recorded_anew():
    saved, other = world_models(imagine_steps=4), world_models(imagine_steps=4, rank=1)
    for _ in range(2):
        saved.update()
    other.load_state_dict(saved.state_dict())
    assert other.update()["finite"] and len(other.replay_buffer)


@dataclass(frozen=True)
class Aim(Walk):
    """Episodes of one step: a number near 1 is best."""

    steps: int = 1

    def step(self, state, action, rng):
        state = state._replace(t=state.t + 1)
        return state, self._make_step(state, -(action[:, 0] - 1).square())


@pytest.mark.parametrize("imagine_steps", [None, 1])
def test_a_controller_learns_a_number(imagine_steps):
    """In imagination, too, from the rewards of random actions alone."""
    options = {"lr": 1e-2, "gradient_steps": 60, "replay_batch": 32, "random_steps": 400, "population": 12}
    options |= {"imagine_steps": imagine_steps, "memory_steps": 3}
    learner = world_models(PreviousActionReward(Aim(dtype=torch.float64)), **options)
    for _ in range(4 + 12):
        learner.update()
    score = evaluate(learner.agent, learner.task, 50, seeded(9), learner.eval_policy)["return"].mean()
    assert score > -0.2  # at first -.41


def test_any_recipe_is_learned_by_the_name_of_the_learner():
    tiny = {f"learner.{name}": value for name, value in QUICK.items() if name != "batch"}
    run = badger.build_run(
        "cartpole", learner="world_models", core="mdn_rnn", batch=2, outer_steps=3, **{"core.hidden_size": 8} | tiny
    )
    assert isinstance(run.learner.task, PreviousActionReward) and run.learner.core.target_size == 2
    train(run)  # which transfers the metrics of all stages at once
    assert [row["episodes"] > 0 for row in run.history] == [True, False, True]
    assert all(math.isfinite(row["return"]) for row in run.history)


def test_a_training_that_ends_before_the_controller_is_refused():
    with pytest.raises(
        ValueError, match=r"outer_steps=30, want at least 31, .*'world_models' trains its policy after 30"
    ):
        badger.build_run("cartpole", learner="world_models", core="mdn_rnn", outer_steps=30)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"experts": 2}, "experts=2, want 1"),
        ({"vision_steps": -1}, "vision_steps=-1, want at least 0"),
        ({"memory_steps": 0, "imagine_steps": 5}, "imagine_steps=5 with memory_steps=0"),
        ({"imagine_steps": 0}, "imagine_steps=0, want at least 1"),
        ({"population": 3}, "population=3, want at least 4 members"),
        ({"sigma": 0.0}, "sigma=0.0, want a finite number above 0"),
        ({"continue_weight": -1.0}, "continue_weight=-1.0, want at least 0"),
        ({"auxiliary": {"elbo": 1.0}}, "the core MDNRNN has no such auxiliary loss"),
    ],
)
def test_options_out_of_range_are_refused(options, error):
    with pytest.raises(ValueError, match=error):
        world_models(**options)


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"core": GRU(TASK.obs_size, 8)}, "core is a GRU, and WorldModels learns with a MDNRNN, .*--core mdn_rnn"),
        ({"core": RSSM(TASK.obs_size, 8, layout=step_layout(TASK))}, "core is a RSSM"),
        ({"core": MDNRNN(TASK.obs_size, 8)}, "core is not told its last action in PreviousActionReward"),
        ({"act": act.WithCritic(act.Mean(8, 3))}, "last output is a value estimate, .*without act.WithCritic"),
        ({"sense": partial(Embedding, size=TASK.obs_size)}, "senses by sense.Embedding, .*broadcast"),
    ],
)
def test_agents_that_it_cannot_train_are_refused(changed, error):
    with pytest.raises(ValueError, match=error):
        WorldModels(agent_for(TASK, **changed), TASK)


def test_a_controller_that_is_too_large_for_a_covariance_matrix_is_refused():
    core = MDNRNN(TASK.obs_size, 666, layout=step_layout(TASK))
    with pytest.raises(ValueError, match=r"acts by 2,001 weights, .* at most 2,000: want a smaller core"):
        WorldModels(agent_for(TASK, core=core, bus=Silent(666), act=act.Mean(666, 3)), TASK)
