"""BPTT against the gradient of a plain loop, and updates that are not finite."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, CORES, GRU, GuessingGame, RepeatPrevious, generator, initial_carry, rollout
from badger.learners.schedules import WarmupCosine
from badger.testing.learner import DetachedGame
from experts import state as states
from pairwise import each_value, pairwise
from toy_learners import NEVER, flat, slopes
from toys import FOR_ANY_TASK, Walk, game, toy_agent

# --- the gradient


def bptt(task=None, *, core="episodic", **options):
    task = task or game(steps=4)
    return BPTT(toy_agent(task, core=core, port="readout"), task, **{"batch": 3, "clip": NEVER} | options)


def by_hand(learner, step=0, cut=None, penalty=None):
    """Loss and gradient of an outer step in a plain loop; `cut` detaches every so many steps."""
    agent, task = copy.deepcopy(learner.agent), learner.task
    agent.zero_grad()
    rng = generator(learner.seed, "train", step)
    env_state, step_result = task.reset(learner.batch, rng)
    obs, total = step_result.obs, 0
    state = agent.initial_state(obs, rng, None, task.action_space.size)
    for t in range(task.steps):
        if cut and t % cut == 0:
            obs, state = obs.detach(), states.detach(state)
        action, state = agent(obs, state, rng)
        env_state, step_result = task.step(env_state, action, rng)
        obs = step_result.obs
        total = total - step_result.reward.mean()
        if penalty:
            total = total + penalty(state) / task.steps
    total.backward()
    return total.detach(), slopes(agent)


TASKS = {"guessing_game": game(steps=4), "repeat_previous": RepeatPrevious(5, 2, dtype=torch.float64)}


@each_value(core=CORES, task=TASKS)
def test_the_gradient_is_that_of_a_plain_loop(core, task):
    learner = bptt(TASKS[task], core=core)
    for step in range(2):
        loss, expected = by_hand(learner, step)
        metrics = learner.update()
        assert_close(metrics["loss"], loss)
        assert_close(slopes(learner.agent), expected)


def test_gradients_do_not_add_up_over_updates():
    learner, fresh = bptt(lr=1e-30), bptt(lr=1e-30)
    learner.update()
    fresh.step = 1
    learner.update()
    fresh.update()
    assert_close(slopes(learner.agent), slopes(fresh.agent))


@each_value(core=FOR_ANY_TASK, truncation=[1, 2, 3])  # a filter learns nothing
def test_truncation_cuts_the_gradient_every_so_many_steps(core, truncation):
    task = RepeatPrevious(5, 1, dtype=torch.float64)
    learner = bptt(task, core=core, truncation=truncation)
    _, whole = by_hand(learner)
    loss, expected = by_hand(learner, cut=truncation)
    assert_close(learner.update()["loss"], loss)
    assert_close(slopes(learner.agent), expected)
    assert any(not torch.allclose(a, b) for a, b in zip(expected, whole, strict=True))


@pytest.mark.parametrize("truncation", [4, 5, 100])
def test_truncation_beyond_the_episode_cuts_nothing(truncation):
    cut, whole = bptt(truncation=truncation), bptt()
    ours, theirs = cut.update(), whole.update()
    assert all(torch.equal(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name])) for name in theirs)
    assert torch.equal(flat(cut.agent), flat(whole.agent))


def test_a_truncated_piece_without_reward_is_supported():
    learner = bptt(truncation=1)  # only the last guess has a reward
    metrics = learner.update()
    assert metrics["finite"] and metrics["gradient_norm"] > 0
    assert_close(metrics["return"], -metrics["final_error"])


def test_a_task_of_variable_length_is_learnt():
    metrics = bptt(Walk(dtype=torch.float64)).update()
    assert metrics["finite"] and metrics["gradient_norm"] > 0 and 1 <= metrics["length"] <= 4


# --- metrics


def test_the_return_is_the_mean_total_reward():
    metrics = bptt().update()
    assert_close(metrics["return"], -metrics["loss"])
    assert_close(metrics["return"], -metrics["final_error"])


@pytest.mark.parametrize("truncation", [None, 2])
def test_a_score_is_averaged_over_the_steps_that_have_it(truncation):
    learner, task = bptt(truncation=truncation), game(steps=4)
    rng = generator(learner.seed, "train", 0)
    frames, _ = rollout(learner.agent, task, initial_carry(learner.agent, task, 3, rng), rng, steps=4)
    metrics = learner.update()
    assert_close(metrics["error"], frames.scores["error"].mean())
    assert_close(metrics["final_error"], frames.scores["error"][-1].mean())


def test_the_norms_are_those_of_all_parameters():
    learner = bptt()
    _, expected = by_hand(learner)
    metrics = learner.update()
    assert_close(metrics["gradient_norm"], torch.cat([g.flatten() for g in expected]).norm())
    assert_close(metrics["parameter_norm"], flat(learner.agent).norm())


# --- auxiliary losses


class LossyGRU(GRU):
    """A GRU with two losses of its own."""

    def losses(self, state):
        return {"size": size(state), "sum": state.h.sum((1, 2))}


def size(state):
    return state.h.square().sum((1, 2))


def test_auxiliary_losses_are_weighted_means_over_steps():
    learner = bptt(core=LossyGRU, auxiliary={"size": 0.3})
    loss, expected = by_hand(learner, penalty=lambda state: 0.3 * size(state.core).mean())
    metrics = learner.update()
    assert_close(metrics["loss"], loss)
    assert_close(metrics["loss"], -metrics["return"] + 0.3 * metrics["size"])
    assert_close(slopes(learner.agent), expected)


def test_auxiliary_losses_without_a_weight_are_metrics_only():
    learner, plain = bptt(core=LossyGRU), bptt(core=GRU)
    assert {"size", "sum"} <= learner.update().keys()
    plain.update()
    assert torch.equal(flat(learner.agent), flat(plain.agent))


def test_auxiliary_losses_have_the_same_weight_when_truncated():
    whole, cut = (bptt(core=LossyGRU, auxiliary={"size": 0.3}, truncation=n).update() for n in (None, 3))
    assert_close(cut["loss"], whole["loss"])


def test_an_auxiliary_loss_that_the_core_does_not_have_is_refused():
    with pytest.raises(
        ValueError, match=r"auxiliary=\['sise'\]: the core LossyGRU has no .*; it has \['size', 'sum'\]"
    ):
        bptt(core=LossyGRU, auxiliary={"sise": 1.0})
    with pytest.raises(ValueError, match=r"the core GRU has no such auxiliary loss; it has none"):
        bptt(core=GRU, auxiliary={"size": 1.0})


# --- the optimiser


def test_the_norm_of_the_gradient_is_clipped():
    learner, free = bptt(clip=1e-3), bptt()
    metrics = learner.update()
    free.update()
    assert metrics["gradient_norm"] > 1e-3  # the norm before clipping
    clipped = torch.cat([g.flatten() for g in slopes(learner.agent)])
    assert_close(clipped.norm().item(), 1e-3, rtol=1e-4, atol=0)
    whole = torch.cat([g.flatten() for g in slopes(free.agent)])
    assert_close(clipped / clipped.norm(), whole / whole.norm())


def test_a_small_gradient_is_not_scaled():
    learner, free = bptt(clip=100.0), bptt()
    learner.update()
    free.update()
    assert torch.equal(flat(learner.agent), flat(free.agent))


def test_a_learner_follows_its_schedule():
    schedule = WarmupCosine(1e-3, total=4, warmup=2)
    learner = bptt(lr=schedule)
    assert [learner.update()["lr"] for _ in range(4)] == [schedule(step) for step in range(4)]
    assert learner.optimizer.param_groups[0]["lr"] == schedule(3)


def test_the_rate_scales_the_first_update():
    moves = []
    for lr in (1e-3, 2e-3):
        learner = bptt(lr=lr)
        before = flat(learner.agent)
        learner.update()
        moves.append(flat(learner.agent) - before)
    assert_close(moves[1], 2 * moves[0])


def test_updates_are_those_of_adamw():
    options = {"lr": 1e-2, "betas": (0.8, 0.9), "weight_decay": 0.1}
    learner, reference = bptt(**options), bptt()
    optimizer = torch.optim.AdamW(reference.agent.parameters(), **options, foreach=False, fused=False)
    for step in range(3):
        _, gradients = by_hand(reference, step)
        for p, gradient in zip(reference.agent.parameters(), gradients, strict=True):
            p.grad = gradient
        optimizer.step()
        learner.update()
    assert_close(flat(learner.agent), flat(reference.agent))


def test_weight_decay_is_decoupled_from_the_gradient():
    learner, free = bptt(lr=0.5, weight_decay=0.1), bptt(lr=0.5)
    before = flat(learner.agent)
    learner.update()
    free.update()
    assert_close(flat(learner.agent), flat(free.agent) - 0.5 * 0.1 * before)


# --- updates that are not finite


@dataclass(frozen=True)
class Broken(GuessingGame):
    """A guessing game with one non-finite reward, at one step of one episode."""

    value: float = float("nan")
    at: int = 2

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        hit = (torch.arange(len(action)) == 1) & (state.t == self.at)
        return state, step._replace(reward=torch.where(hit, self.value, step.reward))


@dataclass(frozen=True)
class Steep(GuessingGame):
    """A guessing game with a finite reward and a non-finite gradient."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        zero = (action[:, 0] - action[:, 0].detach()).clamp(min=0)
        return state, step._replace(reward=step.reward - zero.sqrt())


INJURIES = {
    "nan at the end": lambda dtype: Broken(4, 2, at=4, dtype=dtype),
    "nan in the middle": lambda dtype: Broken(4, 2, dtype=dtype),
    "infinity": lambda dtype: Broken(4, 2, value=float("inf"), at=4, dtype=dtype),
    "gradient": lambda dtype: Steep(4, 2, dtype=dtype),
}
injuries = pytest.mark.parametrize("injury", INJURIES)


def injured(learner, injury):
    """One update with the broken task."""
    task, learner.task = learner.task, INJURIES[injury](learner.task.dtype)
    metrics = learner.update()
    learner.task = task
    return metrics


@injuries
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_update_that_is_not_finite_changes_nothing(injury, dtype):
    task = GuessingGame(4, 2, dtype=dtype)
    learner = BPTT(toy_agent(task, core="episodic").to(dtype), task, batch=3, weight_decay=0.1)
    learner.update()
    before = copy.deepcopy(learner.state_dict())
    assert not injured(learner, injury)["finite"]
    after = learner.state_dict()
    for name, value in before["agent"].items():
        assert torch.equal(after["agent"][name], value), name
    assert after["optimizer"]["state"].keys() == before["optimizer"]["state"].keys()
    for i, moments in before["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(after["optimizer"]["state"][i][name], value), name
    assert after["optimizer"]["param_groups"] == before["optimizer"]["param_groups"]


def test_a_nonfinite_gradient_of_a_finite_loss_is_detected():
    metrics = injured(bptt(), "gradient")
    assert metrics["loss"].isfinite() and not metrics["gradient_norm"].isfinite() and not metrics["finite"]


def test_a_nonfinite_loss_with_a_finite_gradient_is_detected():
    metrics = injured(bptt(), "infinity")
    assert metrics["loss"].isinf() and metrics["gradient_norm"].isfinite() and not metrics["finite"]


@pairwise(injury=INJURIES, truncation=[None, 2], good=[0, 1])
def test_a_skipped_update_has_no_effect_on_the_next_one(injury, truncation, good):
    learner, spared = bptt(truncation=truncation), bptt(truncation=truncation)
    for _ in range(good):
        learner.update()
        spared.update()
    injured(learner, injury)
    spared.step += 1
    assert learner.update()["finite"] and spared.update()["finite"]
    assert torch.equal(flat(learner.agent), flat(spared.agent))


# --- what is refused


def test_a_task_without_gradient_is_refused():
    with pytest.raises(ValueError, match=r"DetachedGame gives rewards without gradient, .*differentiable=True"):
        bptt(DetachedGame())


@pytest.mark.parametrize("option", ["batch", "truncation"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(ValueError, match=f"{option}=0, want at least 1"):
        bptt(**{option: 0})


def test_each_rank_samples_its_own_episodes():
    assert bptt(rank=0).update()["return"] != bptt(rank=1).update()["return"]


def test_a_score_with_the_name_of_the_learners_own_is_refused():
    class Hiding(GuessingGame):
        def step(self, state, action, rng):
            state, step = super().step(state, action, rng)
            return state, step._replace(scores={"loss": step.scores["error"]})

    task = Hiding(3, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"Hiding or its agent returns \['loss'\], a metric of BPTT itself"):
        BPTT(toy_agent(task), task, batch=2).update()
