"""Populations: members that are trained as one batch learn what each would learn alone."""

import copy
from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, CORES, GRU, GuessingGame, Population, Run, build_run, evaluate, generator, train
from badger.errors import Diverged
from badger.runs.milestones import MIN_AVERAGED_STEPS, learning_milestones
from badger.runs.run import SMOOTHING
from badger.testing import check_learner
from pairwise import each_value
from tiny_runs import checkpoints, load_trusted, made, metrics, same, scalars
from toys import Walk, game, toy_agent

SEEDS = (3, 4)
THREE = (3, 4, 6)


def alone(seed, task=None, *, core="gru", bus="attention", **options):
    task = task or game(steps=4)
    agent = toy_agent(task, core=core, bus=bus, port="readout", seed=seed)
    return BPTT(agent, task, **{"batch": 3, "lr": 1e-2, "seed": seed} | options)


def population(task=None, *, seeds=SEEDS, **options):
    return Population([alone(seed, task, **options) for seed in seeds])


def flat(learner):
    return torch.cat([p.detach().flatten() for p in learner.agent.parameters()])


def assert_equal_learning(together, singles, steps=2):
    """Metrics, gradients and parameters of each member are those of a run of its own."""
    for _ in range(steps):
        update_metrics = together.update()
        for member, single in zip(together.members, singles, strict=True):
            for name, value in single.update().items():
                ours = torch.as_tensor(update_metrics.get(f"{name}/seed_{single.seed}", update_metrics[name]))
                assert_close(ours, torch.as_tensor(value), rtol=1e-7, atol=1e-9, check_dtype=False)
            for ours, theirs in zip(member.agent.parameters(), single.agent.parameters(), strict=True):
                pair = [torch.zeros_like(p) if p.grad is None else p.grad for p in (ours, theirs)]
                assert_close(*pair, rtol=1e-7, atol=1e-9)
            assert_close(flat(member), flat(single), rtol=1e-7, atol=1e-9)


# --- members equal single learners


@each_value(core=CORES, bus=["attention", "mean", "silent"])
def test_each_member_learns_what_it_would_learn_alone(core, bus):
    assert_equal_learning(population(core=core, bus=bus), [alone(seed, core=core, bus=bus) for seed in SEEDS])


@pytest.mark.parametrize("bus", ["workspace", "delayed"])
def test_each_member_with_a_stateful_bus_learns_what_it_would_learn_alone(bus):
    assert_equal_learning(population(bus=bus), [alone(seed, bus=bus) for seed in SEEDS])


@each_value(core=CORES, truncation=[1, 3])
def test_each_member_is_truncated_as_it_would_be_alone(core, truncation):
    options = {"core": core, "truncation": truncation}
    assert_equal_learning(population(**options), [alone(seed, **options) for seed in SEEDS])


class LossyGRU(GRU):
    """A GRU with an auxiliary loss."""

    def losses(self, state):
        return {"size": state.h.square().sum((1, 2))}


def test_each_member_has_its_auxiliary_losses_and_its_process():
    options = {"core": LossyGRU, "auxiliary": {"size": 0.3}, "rank": 1}
    assert_equal_learning(population(**options), [alone(seed, **options) for seed in SEEDS])


def test_members_may_differ_in_their_optimizer_options():
    options = [{"lr": 1e-2}, {"lr": 1e-3, "clip": 1e-3}, {"lr": 1e-2, "weight_decay": 0.1}]
    ours, theirs = ([alone(s, **o) for s, o in zip(THREE, options, strict=True)] for _ in range(2))
    assert_equal_learning(Population(ours), theirs)


def test_a_population_of_one_is_a_learner_like_any_other():
    assert_equal_learning(population(seeds=[5]), [alone(5)])


def test_members_of_a_recipe_are_the_runs_of_their_seeds():
    sizes = {"experts": 2, "dims": 2, "steps": 3, "core.hidden_size": 6, "batch": 4, "device": "cpu"}
    members = build_run("guessing_game", **sizes, seed=7, seeds=2).learner.members
    assert [member.seed for member in members] == [7, 8]
    for member in members:
        single = build_run("guessing_game", **sizes, seed=member.seed).learner
        assert isinstance(single, BPTT)
        assert same(member.state_dict(), single.state_dict())


def test_a_recipe_wants_a_seed():
    with pytest.raises(ValueError, match="seeds=0, want at least 1"):
        build_run("guessing_game", seeds=0)


# --- a learner


def make_population(agent, task, *, seed=0):
    agents = [agent, copy.deepcopy(agent)]
    return Population([BPTT(agent, task, batch=3, seed=seed + i) for i, agent in enumerate(agents)])


def test_a_population_keeps_the_contract_of_learners():
    check_learner(make_population)


def test_metrics_are_means_over_members():
    update_metrics = population().update()
    for name in ("loss", "return", "final_error", "gradient_norm", "parameter_norm"):
        assert_close(update_metrics[name], sum(update_metrics[f"{name}/seed_{seed}"] for seed in SEEDS) / 2)
    assert update_metrics["lr"] == 1e-2 and not any(name.startswith("lr/") for name in update_metrics)


def test_different_learning_rates_are_metrics_of_each_member():
    update_metrics = Population([alone(3, lr=1e-2), alone(4, lr=3e-2)]).update()
    assert_close(
        [float(update_metrics[name]) for name in ("lr", "lr/seed_3", "lr/seed_4")],
        [2e-2, 1e-2, 3e-2],
        rtol=1e-6,
        atol=0,
    )


# --- randomness after the reset


@dataclass(frozen=True)
class Noisy(GuessingGame):
    """A guessing game with a random score at each step."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        drawn = torch.rand(len(action), generator=rng, dtype=self.dtype)
        return state, step._replace(scores=step.scores | {"drawn": drawn})


def draws(learner):
    update_metrics = learner.update()
    return [update_metrics[f"drawn/seed_{seed}"].item() for seed in SEEDS]


def test_random_numbers_after_the_reset_differ_between_members_and_steps():
    learner = population(Noisy(4, 2, dtype=torch.float64))
    assert len({*draws(learner), *draws(learner)}) == 2 * len(SEEDS)


def test_random_numbers_after_the_reset_are_reproducible():
    one, other = (population(Noisy(4, 2, dtype=torch.float64)) for _ in range(2))
    assert draws(one) == draws(other)


def test_random_numbers_after_the_reset_differ_between_ranks():
    one, other = (population(Noisy(4, 2, dtype=torch.float64), rank=rank) for rank in (0, 1))
    assert not {*draws(one)} & {*draws(other)}


@pytest.mark.parametrize(
    "options",
    [{"bus": "gated"}, {"bus": "noisy"}, {"task": Walk(dtype=torch.float64)}],
    ids=["gated", "noisy", "walk"],
)
def test_training_with_a_random_bus_or_task_is_reproducible(options):
    one, other = population(**options), population(**options)
    for _ in range(2):
        update_metrics, again = one.update(), other.update()
        assert update_metrics["finite"] and all(update_metrics[f"gradient_norm/seed_{seed}"] > 0 for seed in SEEDS)
        assert same(update_metrics, again)
    assert same(one.state_dict(), other.state_dict())


# --- members that are not finite


def diverging(learner, seeds):
    """Makes the answers of these members so large that their errors are infinite."""
    for member in learner.members:
        if member.seed in seeds:
            with torch.no_grad():
                member.agent.act.key_value.bias[-1] = 1e200
    return learner


@each_value(core=CORES, truncation=[None, 2])
def test_a_member_that_diverges_leaves_the_other_alone(core, truncation):
    options = {"core": core, "truncation": truncation}
    learner, spared = diverging(population(**options), [4]), population(**options)
    before = copy.deepcopy(learner.members[1].state_dict())
    for _ in range(2):
        assert learner.update()["finite"]
        spared.update()
    assert same(learner.members[0].state_dict(), spared.members[0].state_dict())
    after = learner.members[1].state_dict()
    assert same(after["agent"], before["agent"])
    assert not any(moment.any() for moments in after["optimizer"]["state"].values() for moment in moments.values())


def test_a_member_that_diverges_is_excluded_from_the_mean():
    update_metrics, spared = diverging(population(seeds=THREE), [4]).update(), population(seeds=THREE).update()
    assert [bool(update_metrics[f"finite/seed_{seed}"]) for seed in THREE] == [True, False, True]
    assert update_metrics["loss/seed_4"].isinf()
    assert_close(update_metrics["loss"], (spared["loss/seed_3"] + spared["loss/seed_6"]) / 2)


def test_training_continues_while_one_member_is_finite():
    run = Run(diverging(population(), [3]), outer_steps=3)
    train(run)
    assert [row["finite/seed_4"] for row in run.history] == [1, 1, 1]
    assert [row["finite/seed_3"] for row in run.history] == [0, 0, 0]


def test_training_ends_if_all_members_have_diverged():
    with pytest.raises(Diverged, match="outer step 1 is not finite"):
        train(Run(diverging(population(), SEEDS), outer_steps=3))


# --- runs of populations


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    run = made(tmp_path_factory.mktemp("population") / "run", seeds=2, seed=5)
    train(run)
    return run


def test_a_run_that_was_stopped_ends_as_one_that_was_not(tmp_path, whole):
    folder = tmp_path / "run"
    train(made(folder, seeds=2, seed=5), 7, tensorboard=False)
    train(load_trusted(folder), 4, tensorboard=False)
    train(load_trusted(folder), tensorboard=False)
    assert metrics(folder) == metrics(whole.folder)
    ours, theirs = (checkpoints(run)["step_00000030.pt"] for run in (folder, whole.folder))
    assert same(ours, theirs)


def test_a_member_of_a_saved_run_is_an_ordinary_agent(whole):
    agent = load_trusted(whole.folder).learner.members[1].agent
    single = build_run("tiny_runs:tiny", seed=6).learner
    single.agent.load_state_dict(agent.state_dict())
    ours, theirs = (evaluate(one, single.task, 5, generator(0, "evaluate")) for one in (agent, single.agent))
    assert same(ours, theirs)


def test_a_member_can_continue_alone(whole):
    learner, single = load_trusted(whole.folder).learner, build_run("tiny_runs:tiny", seed=6).learner
    single.load_state_dict(learner.members[1].state_dict())
    update_metrics = learner.update()
    assert_close(single.update()["loss"], update_metrics["loss/seed_6"])
    assert_close(flat(single), flat(learner.members[1]))


def test_a_population_of_another_size_is_refused():
    with pytest.raises(ValueError, match="the saved population has 2 members, want 3"):
        population(seeds=THREE).load_state_dict(population().state_dict())


@pytest.mark.parametrize("name", ["return", "final_error"])
def test_each_member_has_its_average_in_the_metrics(whole, name):
    rows, average = metrics(whole.folder), None
    for row in rows:
        value = row[f"{name}/seed_6"]
        average = value if average is None else SMOOTHING * average + (1 - SMOOTHING) * value
        assert row[f"{name}/seed_6_ema"] == pytest.approx(average, rel=1e-12)
        both = [row[f"{name}/seed_{seed}_ema"] for seed in (5, 6)]
        assert row[f"{name}_ema"] == pytest.approx(sum(both) / 2, rel=1e-6)


def test_milestones_are_those_of_a_member(whole):
    rows = [row | {"step": i} for i, row in enumerate(metrics(whole.folder) * MIN_AVERAGED_STEPS, 1)]
    average = [row["final_error/seed_6_ema"] for row in rows]
    threshold = min(average) + 1e-9
    found = learning_milestones(rows, "final_error/seed_6", threshold=threshold, steps=[10])
    due = [step for step, value in enumerate(average, 1) if value < threshold and step >= MIN_AVERAGED_STEPS]
    assert found == {"steps": due[0], 10: average[9]}


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("final_error/train/seed_6", "final_error/seed_6"),
        ("rollout/ep_rew_mean/seed_5", "return/seed_5"),
        ("norm/gradient/seed_5", "gradient_norm/seed_5"),
        ("final_error/train", "final_error"),
    ],
)
def test_tensorboard_has_a_curve_for_each_member_beside_the_mean(whole, tag, name):
    last = [row[name] for row in metrics(whole.folder)[-2:]]  # the steps since the point before
    assert scalars(whole.folder)[tag][-1] == (30, pytest.approx(sum(last) / 2, rel=1e-5))


def test_tensorboard_has_the_average_of_each_member(whole):
    average = metrics(whole.folder)[-1]["final_error/seed_6_ema"]
    assert scalars(whole.folder)["final_error/ema/seed_6"][-1] == (30, pytest.approx(average, rel=1e-5))


# --- what is refused


def stranger():
    return BPTT(toy_agent(game(steps=4), core="lstm", port="readout"), game(steps=4), batch=3)


def twice():
    one = alone(3)
    return [one, BPTT(one.agent, one.task, batch=3, seed=4)]


@pytest.mark.parametrize(
    ("members", "error"),
    [
        (lambda: [], "a population of 0 members"),
        (lambda: [alone(3), alone(4), alone(3)], r"seeds \[3, 4, 3\], want a different one for each"),
        (twice, "members share an agent"),
        (lambda: [alone(3), alone(4, batch=5)], "batch=5 of the member with seed 4, want 3"),
        (lambda: [alone(3), alone(4, truncation=2)], "truncation=2 of the member with seed 4, want None"),
        (lambda: [alone(3), alone(4, game(steps=5))], r"task=GuessingGame\(.*steps=5.* of the member with seed 4"),
        (lambda: [alone(3), alone(4, grad_checkpoint_steps=2)], "seed 4 has grad_checkpoint_steps set"),
        (lambda: [alone(3), stranger()], "the agent of seed 0 has other weights than the first: core.bias_hh, "),
    ],
)
def test_members_that_cannot_be_batched_are_refused(members, error):
    with pytest.raises(ValueError, match=error):
        Population(members())
