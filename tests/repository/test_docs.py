"""Names and links in the documentation exist, and the example in each package's docstring runs.

A string in backticks in a docstring or on a page of `WITH_NAMES` is taken for a name where it is a dotted name, with
or without a call behind it, that begins with

- one of the four packages: `experts.dnc.addressing`, `badger.build("maze")`;
- one of the modules `act`, `sense` and `figures` of `badger`, which users name without it: `act.Mean`;
- a class of this project: `Core.unroll`, `Step.reward`. A member is an attribute, a field, an annotated name, or what
  its methods assign to `self`.

A path in backticks that begins with a folder of the project is a file or folder: `experts/core.py`. The stem `name`
stands for any: `experts/name.py`.
"""

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from repository.test_docstrings import PACKAGES, ROOT, module_names

NAME = re.compile(r"(?<!`)`([A-Za-z]\w*(?:\.[A-Za-z_]\w*)+)(?:\([^`]*\))?`(?!`)")
PATH = re.compile(r"`((?:badger|experts|comms|tasks|tests|notebooks|docs)/[\w./-]*)`")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^ *```.*?^ *```", re.M | re.S)
EXAMPLE = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = ["README.md", "CONTRIBUTING.md", "BENCHMARKS.md", "CHANGELOG.md", "notebooks/LOG.md"]
WITH_NAMES = ["README.md", "CONTRIBUTING.md", "BENCHMARKS.md"]
SHORT = ("act", "figures", "sense")

WITH_EXAMPLE = [
    "badger",
    "badger.act",
    "badger.bench",
    "badger.evaluation",
    "badger.figures",
    "badger.learners",
    "badger.learners.policy_gradient",
    "badger.planning",
    "badger.policies",
    "badger.recipes",
    "badger.rollouts",
    "badger.runs",
    "badger.study",
    "comms",
    "experts",
    "experts.attention",
    "experts.belief",
    "experts.auxiliary",
    "experts.dnc",
    "experts.ntm",
    "experts.relational",
    "experts.sparse",
    "experts.episodic",
    "experts.fast_weights",
    "experts.recurrent",
    "tasks",
    "tasks.adapters",
    "tasks.babi",
    "tasks.control",
    "tasks.data",
    "tasks.games",
    "tasks.offline",
    "tasks.pomdp",
    "tasks.sequence",
]
"""Packages with an example in their docstring."""

MODULES = [importlib.import_module(name) for name in module_names()]


def classes() -> dict[str, list[type]]:
    """Classes of this project by name; some names belong to several classes."""
    found: dict[str, list[type]] = {}
    for module in MODULES:
        for name, value in vars(module).items():
            if isinstance(value, type) and value.__module__ == module.__name__:
                found.setdefault(name, []).append(value)
    return found


CLASSES = classes()


def texts(module: ModuleType) -> Iterator[tuple[int, str]]:
    """Line and text of each docstring of a module: its own, of classes and functions, below assignments."""
    tree = ast.parse(Path(module.__file__ or "").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def wrong_names(text: str) -> list[str]:
    prose = FENCE.sub("", text)
    paths = [path for path in PATH.findall(prose) if "/name." not in path and not (ROOT / path).exists()]
    return paths + [name for name in NAME.findall(prose) if is_name(name) and not exists(name)]


def is_name(name: str) -> bool:
    first = name.split(".")[0]
    return first in PACKAGES or first in SHORT or first in CLASSES


def exists(name: str) -> bool:
    first, *rest = name.split(".")
    if first in CLASSES:
        return any(reaches(cls, rest) for cls in CLASSES[first])
    found: Any = importlib.import_module(f"badger.{first}" if first in SHORT else first)
    while rest and f"{found.__name__}.{rest[0]}" in module_names():
        found, rest = importlib.import_module(f"{found.__name__}.{rest[0]}"), rest[1:]
    return reaches(found, rest)


def reaches(value: Any, path: list[str]) -> bool:
    """Whether a path of attributes exists; it may end with a field that has no value."""
    for i, name in enumerate(path):
        if not hasattr(value, name):
            return isinstance(value, type) and name in fields(value) and i == len(path) - 1
        value = getattr(value, name)
    return True


def fields(cls: type) -> set[str]:
    """The annotated names of a class and its bases, and those that a constructor assigns to self."""
    found: set[str] = set()
    for base in cls.__mro__:
        found |= set(vars(base).get("__annotations__", {}))
        if base.__module__.split(".")[0] in PACKAGES:
            tree = ast.parse(Path(importlib.import_module(base.__module__).__file__ or "").read_text(encoding="utf-8"))
            body = next(
                node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and node.name == base.__name__
            )
            stores = [n for n in ast.walk(body) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Store)]
            found |= {n.attr for n in stores if ast.unparse(n.value) == "self"}
    return found


def slug(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def test_every_dotted_name_in_a_docstring_exists():
    wrong = [
        f"{module.__name__}: the docstring at line {line} names {name}"
        for module in MODULES
        for line, text in texts(module)
        for name in wrong_names(text)
    ]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.parametrize("page", WITH_NAMES)
def test_every_dotted_name_on_a_page_exists(page):
    assert wrong_names((ROOT / page).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("text", ["`experts.nothing`", "see `Core.unrol(x)`", "`act.Mena`", "`experts/corez.py`"])
def test_a_name_that_does_not_exist_is_found(text):
    assert len(wrong_names(text)) == 1


@pytest.mark.parametrize("text", ["`experts.core.Core.unroll`", "`Core.input_size`", "`act.Mean(64, 4)`", "`x.y`"])
def test_a_name_that_exists_passes(text):
    assert wrong_names(text) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_has_a_target(page):
    text = FENCE.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for link in LINK.findall(text):
        if re.match(r"\w+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / page).parent / file if file else ROOT / page
        assert target.exists(), f"{page} links to {link}, and there is no {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", target.read_text(encoding="utf-8")), re.M)
            assert anchor in map(slug, headings), f"{page} links to {link}, and {target.name} has no such heading"


@pytest.mark.parametrize("package", WITH_EXAMPLE)
def test_the_example_of_a_package_runs(package, tmp_path, monkeypatch):
    examples = EXAMPLE.findall(importlib.import_module(package).__doc__ or "")
    assert examples, f"the docstring of {package} shows no example between ```python and ```"
    monkeypatch.chdir(tmp_path)
    for example in examples:
        exec(compile(example, f"<example of {package}>", "exec"), {})
