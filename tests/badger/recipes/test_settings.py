"""What recipes share: the flags of `Setup`, the parts that they name, and the agent that they build."""

import inspect

import pytest

from badger import Run, act, build_run, recipe, sense
from badger.learners.schedules import WarmupCosine
from badger.recipes.build import find_recipe
from badger.recipes.flags import drop_unknown_options
from badger.recipes.games import guessing_game
from badger.recipes.sequences import sequential_mnist
from badger.recipes.settings import Setup
from experts import CPC
from tasks import GuessingGame
from toys import FOR_ANY_TASK

TINY = {"core.hidden_size": 6, "core.key_size": 4, "message_size": 4, "batch": 4}


@recipe(experts=3, lr=0.5, **{"core.hidden_size": 6})
def own(setup: Setup, *, dims: int = 2) -> Run:
    """A recipe of a user's own.

    Args:
        dims: to be guessed.
    """
    return setup.make_run(GuessingGame(3, dims))


def test_a_recipe_has_its_own_flags_and_the_shared_ones():
    parameters = inspect.signature(own).parameters
    defaults = {name: parameter.default for name, parameter in parameters.items()}
    assert next(iter(parameters)) == "dims" and "setup" not in parameters
    assert (defaults["dims"], defaults["experts"], defaults["lr"], defaults["batch"]) == (2, 3, 0.5, 64)
    assert all(p.kind is p.KEYWORD_ONLY for p in parameters.values())


def test_the_docstring_tells_of_all_flags():
    text = inspect.getdoc(own)
    assert text.startswith("A recipe of a user's own.") and "    dims: to be guessed.\n" in text
    assert "    batch: episodes in an outer step.\n" in text


def test_flags_reach_the_agent_and_the_learner():
    run = own(dims=3, experts=6, message_size=5, bus="mean", act="random_owners", lr=0.25, outer_steps=40, seed=7)
    agent, learner = run.learner.agent, run.learner
    assert (learner.task.dims, agent.experts, agent.bus.message_size, agent.identity_size) == (3, 6, 5, 8)
    assert isinstance(agent.act, act.RandomOwners) and learner.seed == 7 and run.outer_steps == 40
    assert learner.schedule == WarmupCosine(0.25, total=40, warmup=2)


def test_a_flag_that_there_is_not_is_refused():
    with pytest.raises(ValueError, match="recipe 'own' has no argument 'epochs'; it has dims, core"):
        own(epochs=3)


def test_a_constant_schedule_is_the_same_throughout():
    schedule = own(schedule="constant").learner.schedule
    assert schedule(0) == schedule(10_000) == 0.5


def test_a_cooldown_ends_with_the_run():
    schedule = own(schedule="cooldown", outer_steps=10).learner.schedule
    assert schedule(0) == schedule(7) == 0.5 and 0 < schedule(9) < 0.5 and schedule(10) == 0


def test_an_unknown_schedule_is_refused_with_those_that_there_are():
    with pytest.raises(ValueError, match=r"unknown schedule 'cosin'.*Did you mean 'cosine'"):
        own(schedule="cosin")


@pytest.mark.parametrize(("head", "size"), [("named_outputs", 0), ("round_robin", 8), ("readout", 8)])
def test_identities_are_random_unless_the_act_names_experts(head, size):
    assert own(act=head, experts=4).learner.agent.identity_size == size
    assert own(act=head, experts=4, identity_size=3).learner.agent.identity_size == 3


def test_a_silent_bus_has_no_messages():
    assert own(bus="silent").learner.agent.bus.message_size == 0


def test_the_guessing_game_is_sensed_by_the_number_of_its_outputs():
    assert isinstance(guessing_game(**TINY).learner.agent.sense, sense.Scaled)


@pytest.mark.parametrize("core", FOR_ANY_TASK)  # not of a model or a position
@pytest.mark.parametrize("name", ["guessing_game", "pooled_recall"])
def test_every_core_is_trained_by_a_recipe(name, core):
    arguments = drop_unknown_options(
        find_recipe(name), {"core": core, "core.hidden_size": 6, "core.key_size": 4, "core.width": 4}
    )
    assert build_run(name, **arguments, steps=5, batch=2).learner.update()["finite"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"core": "neural_memory"}, {"meta": 0.1}),
        ({"core": "neural_memory_gradient"}, {"meta": 0.01}),
        ({"core": "neural_memory_gradient", "auxiliary_weights": {"meta": 0.5}}, {"meta": 0.5}),
        ({"core": "neural_memory", "auxiliary_weights": {"meta": 0.0}}, {}),
        ({"core": "lookup_table"}, {}),
        ({"core": "episodic_cpc"}, {"cpc": 0.1}),
        ({"core": "dvrl"}, {"negative_elbo": 0.1}),
        ({"core": "dvbf"}, {"negative_elbo": 0.1}),
        ({"core": "rssm"}, {"kl": 0.1, "reconstruction": 1.0}),
        ({"core": "mdn_rnn"}, {"kl": 1.0, "reconstruction": 1.0, "transition": 1.0}),
    ],
)
def test_a_core_suggests_the_weights_of_its_losses(given, wanted):
    assert build_run("guessing_game", **given).learner.auxiliary == wanted


def test_a_loss_that_the_core_does_not_have_is_refused():
    with pytest.raises(ValueError, match="meta"):
        build_run("dictionary_inference", core="lookup_table", auxiliary_weights={"meta": 0.5})


def test_cpc_encodes_the_observation_and_the_inbox_but_not_the_name():
    core = guessing_game(core="episodic_cpc", **TINY).learner.agent.core
    assert isinstance(core, CPC) and core.target_size == 1 + 4


def test_slots_of_a_shared_memory_are_given_for_each_expert():
    shared = build_run("guessing_game", core="episodic_shared", experts=3, **{"core.slots": 5}).learner.agent.core
    both = build_run("guessing_game", core="episodic_both", experts=(2, 3), **{"core.slots": 5}).learner.agent.core
    assert (shared.slots, both.slots, both.controller.core.slots) == (15, 15, 5)


def test_pooled_recall_wants_one_number_of_experts():
    with pytest.raises(ValueError, match=r"experts=\(2, 3\), want one number"):
        build_run("pooled_recall", experts=(2, 3))


def test_pixels_divide_an_image():
    with pytest.raises(ValueError, match="pixels=5, want a divisor of 784, such as 7"):
        sequential_mnist(pixels=5)


def test_an_image_is_read_by_one_expert_that_talks_to_nobody():
    learner = sequential_mnist(pixels=28, **{"core.hidden_size": 6, "core.slots": 9}).learner
    assert learner.task.steps == 28 and learner.agent.experts == 1 and learner.agent.bus.message_size == 0
    assert learner.agent.core.core.slots == 9 and learner.schedule(0) == 1e-3


def test_experts_communicate_as_many_rounds_in_a_step_as_are_given():
    assert own(comm_rounds=3).learner.agent.comm_rounds == 3
