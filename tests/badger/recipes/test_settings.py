"""What recipes share: flags that are said once, and the agent that they make."""

import inspect

import pytest

from badger import Run, act, build_run, recipe, sense
from badger.learners.schedules import WarmupCosine
from badger.recipes.games import guessing_game
from badger.recipes.memories import MemoryFlags
from badger.recipes.sequences import sequential_mnist
from badger.recipes.settings import Setup
from experts import CPC, GRU, Reconstruction
from tasks import GuessingGame

TINY = {"hidden_size": 6, "key_size": 4, "message_size": 4, "batch": 4}


@recipe(experts=3, lr=0.5)
def own(setup: Setup, *, dims: int = 2) -> Run:
    """A recipe of a user's own.

    Args:
        dims: to be guessed.
    """
    return setup.make_run(GuessingGame(3, dims), lambda size: GRU(size, 6))


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
    run = own(dims=3, experts=6, message_size=5, bus="mean", act="owners", lr=0.25, outer_steps=40, seed=7)
    agent, learner = run.learner.agent, run.learner
    assert (learner.task.dims, agent.experts, agent.bus.message_size, agent.identity_size) == (3, 6, 5, 8)
    assert isinstance(agent.act, act.RandomOwners) and learner.seed == 7 and run.outer_steps == 40
    assert learner.schedule == WarmupCosine(0.25, total=40, warmup=2)


def test_a_flag_that_there_is_not_is_refused():
    with pytest.raises(TypeError, match="epochs"):
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


@pytest.mark.parametrize(("port", "size"), [("named", 0), ("each", 8), ("readout", 8)])
def test_identities_are_random_unless_the_port_names_experts(port, size):
    assert own(act=port, experts=4).learner.agent.identity_size == size
    assert own(act=port, experts=4, identity_size=3).learner.agent.identity_size == 3


def test_a_silent_bus_has_no_messages():
    assert own(bus="silent").learner.agent.bus.message_size == 0


def test_the_guessing_game_is_sensed_by_the_number_of_its_outputs():
    assert isinstance(guessing_game(**TINY).learner.agent.sense, sense.Scaled)


@pytest.mark.parametrize("memory", ["none", "private", "shared", "both", "clustered", "amrl", "gtrxl", "window"])
@pytest.mark.parametrize("name", ["guessing_game", "pooled_recall"])
def test_every_memory_learns(name, memory):
    assert build_run(name, memory=memory, steps=5, hidden_size=6, key_size=4, batch=2).learner.update()["finite"]


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ({"memory": "neural"}, {"meta": 0.1}),
        ({"memory": "neural_gradient"}, {"meta": 0.01}),
        ({"memory": "neural_gradient", "meta": 0.5}, {"meta": 0.5}),
        ({"memory": "neural", "meta": 0.0}, {}),
        ({"memory": "lookup"}, {}),
    ],
)
def test_a_memory_brings_along_the_weight_of_its_loss(given, wanted):
    assert MemoryFlags(**given).auxiliary_weights == wanted


@pytest.mark.parametrize("given", [{"memory": "lookup", "meta": 0.0}, {"memory": "neural", "meta": -0.1}])
def test_a_meta_loss_of_a_memory_that_has_none_or_of_a_weight_below_0_is_refused(given):
    with pytest.raises(ValueError, match=f"meta={given['meta']} with memory='{given['memory']}', want a number from 0"):
        build_run("dictionary_inference", hidden_size=4, **given)


def test_auxiliary_losses_are_trained_on_with_their_weights():
    learner = guessing_game(cpc=0.5, reconstruction=0.25, **TINY).learner
    assert learner.auxiliary == {"cpc": 0.5, "reconstruction": 0.25}
    core = learner.agent.core
    assert isinstance(core, Reconstruction) and isinstance(core.core, CPC)
    assert core.target_size == core.core.target_size == 1 + 4  # the error and the inbox, not the name
    assert guessing_game(**TINY).learner.auxiliary == {}


def test_pooled_recall_wants_one_number_of_experts():
    with pytest.raises(ValueError, match=r"experts=\(2, 3\), want one number"):
        build_run("pooled_recall", experts=(2, 3))


def test_pixels_divide_an_image():
    with pytest.raises(ValueError, match="pixels=5, want a divisor of 784, such as 7"):
        sequential_mnist(pixels=5)


def test_an_image_is_read_by_one_expert_that_talks_to_nobody():
    learner = sequential_mnist(pixels=28, hidden_size=6, slots=9).learner
    assert learner.task.steps == 28 and learner.agent.experts == 1 and learner.agent.bus.message_size == 0
    assert learner.agent.core.core.slots == 9 and learner.schedule(0) == 1e-3
