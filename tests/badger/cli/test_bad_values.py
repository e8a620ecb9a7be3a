"""Bad values of every flag of every recipe: exit code 2 and one line that names the flag, or a run that trains."""

import inspect
import itertools
import typing
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union

import pytest

from badger import RECIPES
from badger.cli import train as train_command
from badger.cli.main import main
from badger.learners import LEARNERS
from badger.learners.requirements import requirement
from badger.recipes.parts import ACT, BUS, CORE, LEARNER, SENSE, TOPOLOGY, Part, PartKind
from badger.recipes.settings import Setup
from pairwise import NIGHTLY

HUGE, BEYOND = str(10**14), str(10**30)
WORDS = ["", "no_such", "no_such:thing"]  # no name of a part, an environment, or a file
NUMBERS = {int: ["-1", "0", HUGE, BEYOND], float: ["-1", "0", "1e300", "nan", "inf"]}
OTHER_TYPES = {int: ["", "1.5", "nan", "many"], float: ["", "high"], bool: ["yes"], dict: ["x"]}
TINY = {"--device": "cpu", "--batch": "4", "--core.hidden-size": "4"}
OTHER_TASKS = {
    "per_expert": "pooled_recall",
    "team": "pettingzoo",
    "neural_map": "labyrinth",
    "decision_transformer": "mountain_hike",
    "trajectory_transformer": "mountain_hike",
    "generalized_dt": "mountain_hike",
}  # of senses and cores
RANDOM = {"--learner.random-steps": "20", "--learner.gradient-steps": "1"}
ITS_FLAGS = {"dreamer": {"--core": "rssm"}, "world_models": {"--core": "mdn_rnn"} | RANDOM}  # of learners
ASKED = {"target_return": "decision_transformer", "target_rewards": "generalized_dt"}  # flags of one learner
RECORDED = {"--data": "random:5", "--task": "gambling"}
ZOO = {"--env": "toy_zoo:Meadow", "--steps": "4"}


def plain_types(kind: Any) -> set[Any]:
    """The types in a union, a tuple or a literal."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (Union, UnionType, tuple):
        return set().union(*(plain_types(part) for part in args if part is not ...))
    return {Literal if origin is Literal else origin or kind} - {type(None)}


def recipe_cases():
    """Recipe, flags before, flag, its type: of each recipe its own flags, the shared ones of one recipe alone."""
    shared = set(inspect.signature(Setup).parameters)
    for name, recipe in RECIPES.items():
        for flag, parameter in inspect.signature(recipe).parameters.items():
            if learner := ASKED.get(flag):
                yield name, {"--learner": learner} | RECORDED, f"--{flag.replace('_', '-')}", parameter.annotation
                continue
            extra = ZOO if name == "pettingzoo" else {"--data-dir": "."} if flag == "dataset_version" else {}
            if name == "guessing_game" or flag not in shared:
                yield name, extra, f"--{flag.replace('_', '-')}", parameter.annotation


def part_cases():
    for kind in (CORE, BUS, TOPOLOGY, SENSE, ACT, LEARNER):
        seen: list[Any] = []  # options of parts that share a class
        for name in kind.registry:
            for option, parameter in Part(kind, name).available.items():
                if (option, parameter) not in seen:
                    seen.append((option, parameter))
                    yield *base(kind, name), f"--{kind.flag}.{option.replace('_', '-')}", parameter.annotation


def base(kind: PartKind, name: str) -> tuple[str, dict[str, str]]:
    """A recipe, and flags, with that part."""
    recipe = "t_maze" if kind is LEARNER and name != "bptt" else "repeat_previous"
    if kind is LEARNER and requirement(LEARNERS[name], "needs_data"):
        return "offline", {"--learner": name} | RECORDED
    recipe = "catch" if kind is LEARNER and requirement(LEARNERS[name], "needs_memoryless") else recipe
    recipe = OTHER_TASKS.get(name, recipe) if kind in (SENSE, CORE) else recipe
    flags = ITS_FLAGS.get(name, {}) if kind is LEARNER else {}
    return recipe, {f"--{kind.flag}": name} | flags | (ZOO if recipe == "pettingzoo" else {})


def cases():
    """One bad value of each flag, in turn, is always tested; the others, and those that do not parse, nightly."""
    turn = itertools.count()
    for recipe, extra, flag, kind in [*recipe_cases(), *part_cases()]:
        types = plain_types(kind)
        values = next((NUMBERS[number] for number in (int, float) if number in types), WORDS if str in types else [])
        others = [value for number in types for value in OTHER_TYPES.get(number, ["no_such"] * (number is Literal))]
        if typing.get_origin(kind) is tuple and ... not in typing.get_args(kind):
            values = [" ".join([value] * len(typing.get_args(kind))) for value in values]
        chosen = values[next(turn) % len(values)] if values else None
        for value in [*values, *others]:
            marks = [] if value == chosen else [NIGHTLY]
            name = f"{recipe} {' '.join(extra.values())} {flag} {value!r}"
            yield pytest.param(recipe, extra, flag, value, marks=marks, id=name)


@pytest.fixture
def update_once(monkeypatch):
    """Training is one outer step, which a huge number must not repeat forever, and nothing is written."""

    def update(run, tensorboard):
        if HUGE not in map(str, run.arguments.values()):
            run.learner.update()
        return 0

    monkeypatch.setattr(train_command, "_run_training", update)


@pytest.mark.parametrize(("recipe", "extra", "flag", "value"), list(cases()))
def test_a_bad_value_is_refused_in_one_line_that_names_it_or_the_run_trains(
    recipe, extra, flag, value, update_once, capsys, tmp_path, monkeypatch
):
    if recipe == "atari":
        pytest.importorskip("ale_py")
    if recipe == "minatar":
        pytest.importorskip("minatar")
    monkeypatch.chdir(tmp_path)
    words = itertools.chain(*([name, *(text.split() or [""])] for name, text in {**TINY, **extra, flag: value}.items()))
    code = main(["train", recipe, *words])
    line = capsys.readouterr().err.splitlines()[-1:]
    if code == 0:
        assert line == []
    else:
        assert code == 2 and line[0].startswith("badger: ") and flag in line[0]
    assert not list(Path().iterdir())
