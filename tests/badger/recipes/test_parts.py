"""Parts that flags name: registered or `module:name`, with options of their own."""

import functools
import json
import sys
from pathlib import Path

import pytest

from badger import CORES, Run, build_run, load_run, recipe, train
from badger.cli.main import main
from badger.recipes.parts import BUS, CORE, LEARNER, factory_options, is_plain
from badger.recipes.settings import Setup
from badger.registry import register
from badger.study.compare import compare_runs
from tasks import GuessingGame

OWN_PARTS = """
import torch
from torch import nn
from badger.learners import A2C
from comms import Bus, Delivery
from experts import GRU, Core


class Core2(Core):
    def __init__(self, input_size: int, hidden_size: int = 16, *, gain: float = 1.0):
        super().__init__()
        self.gru, self.gain = GRU(input_size, hidden_size), gain
        self.input_size, self.output_size = input_size, hidden_size

    def initial_state(self, x):
        return self.gru.initial_state(x)

    def forward(self, x, state, present=None):
        return self.gru(self.gain * x, state, present)


class MeanBus(Bus):
    def __init__(self, input_size: int, message_size: int, *, scale: float = 1.0):
        super().__init__()
        self.input_size, self.message_size, self.scale = input_size, message_size, scale
        self.linear = nn.Linear(input_size, message_size)

    def forward(self, y, edges, state, rng):
        mean = (self.scale * self.linear(y)).mean(1, keepdim=True).expand(-1, y.shape[1], -1)
        zeros = y.new_zeros(len(y))
        return Delivery(mean, torch.zeros_like(edges.weight), zeros, zeros), state


class Learner(A2C):
    def __init__(self, agent, task, *, batch: int = 8, seed: int = 0, lr=1e-3, temperature: float = 1.0):
        super().__init__(agent, task, batch=batch, seed=seed, lr=lr, entropy_weight=0.01 * temperature)
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A file outside the project with a core, a bus and a learner, each with an option."""
    assert len(OWN_PARTS.strip().splitlines()) <= 40
    (tmp_path / "mine.py").write_text(OWN_PARTS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("mine", None)


def train_words(names: dict[str, str]) -> list[str]:
    flags = {f"--{kind}": name for kind, name in names.items()}
    flags |= {"--core.gain": "2.0", "--bus.scale": "0.5", "--learner.temperature": "3.0"}
    sizes = {"--experts": "2", "--length": "3", "--batch": "4", "--outer-steps": "2", "--folder": "run"}
    words = [word for pair in {**flags, **sizes}.items() for word in pair]
    return ["train", "t_maze", *words, "--no-tensorboard"]


OWN = {"core": "mine:Core2", "bus": "mine:MeanBus", "learner": "mine:Learner"}


def test_parts_of_a_users_file_train_resume_and_evaluate(mine, capsys):
    assert main(train_words(OWN)) == 0
    arguments = json.loads(Path("run/run.json").read_text())["arguments"]
    assert OWN.items() <= arguments.items()
    assert (arguments["core.gain"], arguments["bus.scale"], arguments["learner.temperature"]) == (2.0, 0.5, 3.0)
    for command in ("resume", "evaluate"):
        assert main([command, "run"]) == 1
        assert "--trust-code" in capsys.readouterr().err
        assert main([command, "run", "--trust-code"]) == 0
    run = load_run("run", trusted=("mine",))
    agent = run.learner.agent
    assert (agent.core.gain, agent.bus.scale) == (2.0, 0.5) and run.learner.weights["entropy"] == pytest.approx(-0.03)


def test_compare_reads_files_alone_and_needs_no_flag(mine):
    assert main(train_words(OWN)) == 0
    (mine / "mine.py").unlink()
    sys.modules.pop("mine")
    results = compare_runs(["run"])
    assert results.score == "success" and results.final_scores(results.arms[0])[0] >= 0
    assert main(["compare", "run", "--folder", "report"]) == 0


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(ValueError, match=r"core 'torch\.nn:LayerNorm' makes a LayerNorm, want a Core"):
        build_run("t_maze", core="torch.nn:LayerNorm")


def test_one_dict_line_registers_a_part(mine, monkeypatch):
    from mine import Core2, Learner, MeanBus  # the user's file

    for kind, part in {"core": Core2, "bus": MeanBus, "learner": Learner}.items():
        registry = {"core": CORE, "bus": BUS, "learner": LEARNER}[kind].registry
        monkeypatch.setitem(registry, "own", part)
    assert main(train_words(dict.fromkeys(OWN, "own"))) == 0
    assert main(["evaluate", "run"]) == 0  # a registered name needs no --trust-code


@pytest.mark.parametrize("name", CORES)
def test_options_of_registered_cores_are_plain(name):
    options = factory_options(CORES[name], CORE)
    assert "hidden_size" in options and all(is_plain(option.annotation) for option in options.values())
    assert not {"input_size", "experts", "target_size"} & set(options)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"core": "dnc", "core.slotz": 3},
            "core.slotz=3: core 'dnc' has no option 'slotz'; did you mean 'core.slots'?",
        ),
        ({"core": "dnc", "core.slots": "many"}, "core.slots='many', want int"),
        ({"core": "dnc", "core.controller": "nope"}, "controller='nope', want one of gru, lstm"),
        ({"core": "epizodic"}, "unknown core 'epizodic', want one of: gru, .*Did you mean 'episodic'"),
        ({"bus.heads": 2}, "bus.heads=2: bus 'silent' has no option 'heads'; it has none"),
        ({"brain.slots": 2}, "has no argument"),
        ({"learner": "ppo", "learner.lr": 1.0}, "learner.lr=1.0: learner 'ppo' has no option 'lr'"),
    ],
)
def test_bad_parts_and_options_are_refused_by_name(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_run("t_maze", **arguments)


def test_lists_become_the_tuples_that_an_option_asks_for():
    part = LEARNER("a2c", betas=[0.5, 0.9]).check()
    assert part.options["betas"] == (0.5, 0.9)


def test_options_that_only_some_cores_have_are_recipe_defaults_for_these():
    lstm, dnc = (build_run("maze", core=core).defaults for core in ("lstm", "dnc"))
    assert "core.slot_size" in dnc and "core.slot_size" not in lstm and "core.hidden_size" in lstm


def define(decorator, **flags):
    def function(setup: Setup) -> Run:
        """A recipe."""
        return setup.make_run(GuessingGame())

    return decorator(function)


@pytest.mark.parametrize(
    ("defaults", "message"),
    [
        ({"outer_step": 5}, "recipe 'function' has no argument 'outer_step'; did you mean 'outer_steps'?"),
        ({"core.slotz": 5}, "recipe 'function' has no argument 'core.slotz'; did you mean 'core.slots'?"),
        ({"brain.slots": 5}, "recipe 'function' has no argument 'brain.slots'"),
    ],
)
def test_a_default_that_names_no_flag_is_refused_when_the_recipe_is_defined(defaults, message):
    with pytest.raises(TypeError, match=message):
        define(recipe(**defaults))


def test_a_flag_that_the_setup_has_already_is_refused_when_the_recipe_is_defined():
    def twice(setup: Setup, *, batch: int = 3) -> Run:
        """A recipe."""
        return setup.make_run(GuessingGame())

    with pytest.raises(TypeError, match="flag 'batch' is defined twice"):
        recipe()(twice)


def test_a_run_loads_with_the_options_it_was_made_with(tmp_path):
    run = build_run("t_maze", core="episodic", outer_steps=1, batch=2, length=2, **{"core.slots": 7})
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    assert load_run(tmp_path / "run").learner.agent.core.core.slots == 7


def test_a_partial_is_described_by_the_function_inside():
    assert "rule" in factory_options(functools.partial(CORES["plastic"], rule="hebb"), CORE)


def test_a_name_that_is_taken_is_refused():
    with pytest.raises(ValueError, match="two recipes are named 'maze'; rename one of them"):
        register("recipes", [("maze", 1), ("copy", 2), ("maze", 3)])
