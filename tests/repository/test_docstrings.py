"""Every public name has a complete docstring; `python tests/test_docstrings.py experts.episodic` lists what is missing.

A name is public where it stands in the `__all__` of any module, or is imported by an `__init__` that has no `__all__`.
It is judged in the module that defines it, with all methods and properties of a class without a leading underscore.
The rules:

- There is a docstring. The first line is one or more complete sentences: it begins with a capital letter, a digit or a
  backtick, ends with a full stop, has at most 120 characters, and begins with none of What, Who, How, So many.
- Every parameter of a function or constructor, except `self`, `cls` and `*args`, has an entry under "Args:"; those of
  a constructor, and the fields of a dataclass or NamedTuple, in the docstring of the class. `a, b: text` describes two.
- A function whose own body raises anything but NotImplementedError has a section "Raises:"; so has a class whose
  constructor does.
- A method, a property and the Args of a constructor may be documented in a base class of this project; a method of
  another library may be documented there, except `nn.Module.forward`.
- A constant has a string literal below its assignment, which is held to the rule of the first line.
- A module is held to the rule of the first line.
"""

import ast
import dataclasses
import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("experts", "comms", "tasks", "badger")
LONGEST = 120
FORBIDDEN = re.compile(r"(What|Who|How|Whom|Whose|Whatever|Whoever|However|So many)\b")
COMPLETE = re.compile(r"[A-Z0-9`\"(*].*\.[)`\"*]*$")
SECTION = re.compile(r"^(Args|Raises|Returns|Yields|Shapes|Source|Attributes|Example|Note|Metrics):", re.M)
NAME = r"\*{0,2}`?\w+`?(?: \([^)]*\))?"
ENTRY = re.compile(rf"({NAME}(?:, {NAME})*): *(?P<text>.*)")


class Source(NamedTuple):
    """One file, parsed."""

    module: str
    nodes: dict[str, ast.AST]  # classes and functions by qualified name
    constants: dict[str, str | None]  # names assigned at the top level, with the string literal below
    docstring: str | None


def module_names() -> list[str]:
    files = [f for package in PACKAGES for f in sorted((ROOT / package).rglob("*.py")) if f.stem != "__main__"]
    parts = [file.relative_to(ROOT).with_suffix("").parts for file in files]
    return [".".join(part[:-1] if part[-1] == "__init__" else part) for part in parts]


@cache
def public_modules() -> frozenset[str]:
    return frozenset(module_names())


def package_of(module: str) -> str:
    return module if (ROOT / module.replace(".", "/")).is_dir() else module.rpartition(".")[0]


@cache
def source(module: str) -> Source:
    path = ROOT / module.replace(".", "/")
    tree = ast.parse((path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8"))
    constants: dict[str, str | None] = {}
    for node, below in zip(tree.body, [*tree.body[1:], None], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target] if _annotated(node) else []
        literal = isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and below.value.value
        text = literal if isinstance(literal, str) else None
        constants |= {target.id: text for target in targets if isinstance(target, ast.Name)}
    return Source(module, dict(_definitions(tree, "")), constants, ast.get_docstring(tree))


def _annotated(node: ast.AST) -> bool:
    return isinstance(node, ast.AnnAssign) and node.value is not None


def _definitions(node: ast.AST, prefix: str) -> Iterator[tuple[str, ast.AST]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            accessor = any(
                isinstance(d, ast.Attribute) and d.attr in ("setter", "deleter") for d in child.decorator_list
            )
            if not accessor:
                yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from _definitions(child, f"{prefix}{child.name}.")
        elif isinstance(child, ast.If | ast.Try | ast.With):
            yield from _definitions(child, prefix)


def exported(module: ModuleType) -> list[str]:
    if hasattr(module, "__all__"):
        return list(module.__all__)
    if not hasattr(module, "__path__"):
        return []
    names = [name for name, value in vars(module).items() if not name.startswith("_") and _ours(value)]
    return [name for name in names if not isinstance(getattr(module, name), ModuleType)]


def _ours(value: Any) -> bool:
    name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return isinstance(name, str) and name.split(".")[0] in PACKAGES


@cache
def public_names() -> dict[str, set[str]]:
    """Module -> the names that it defines and that some `__all__` or `__init__` exports."""
    found: dict[str, set[str]] = {name: set() for name in module_names()}
    constants: dict[str, list[Any]] = {}
    for name in found:
        module = importlib.import_module(name)
        for public in exported(module):
            value = getattr(module, public)
            if isinstance(value, type) or inspect.isroutine(value):
                value = inspect.unwrap(value)
                if value.__qualname__ in source_nodes(value.__module__):
                    found[value.__module__].add(value.__qualname__)
            elif not isinstance(value, ModuleType):
                constants.setdefault(public, []).append(value)
    for name in found:
        for constant in source(name).constants.keys() & constants.keys():
            if any(getattr(sys.modules[name], constant) is value for value in constants[constant]):
                found[name].add(constant)
    return found


def source_nodes(module: str) -> dict[str, ast.AST]:
    return source(module).nodes if module in public_modules() else {}


def problems(module: str) -> list[str]:
    """The problems of one module's docstring and of the public names that it defines, a line each."""
    here = source(module)
    found = _first_line(module, here.docstring)
    for name in sorted(public_names()[module]):
        where, value = f"{module}.{name}", _resolve(module, name)
        if name in here.constants and name not in here.nodes:
            found += _first_line(where, here.constants[name])
        elif isinstance(value, type):
            found += _problems_of_class(where, value)
        else:
            found += _problems_of_function(where, [value])
    return found


def _resolve(module: str, name: str) -> Any:
    value: Any = sys.modules[module]
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _problems_of_class(where: str, cls: type) -> list[str]:
    docs = [doc for base in cls.__mro__ if (doc := _doc(base))]
    found = _first_line(where, _doc(cls))
    if found[:1] != [f"{where}: no docstring"]:
        found += _missing_args(where, _constructor_parameters(cls), docs)
        raising = [f for f in ("__init__", "__new__", "__post_init__") if f in vars(cls) and _raises(vars(cls)[f])]
        if raising and not any("Raises" in _sections(doc) for doc in docs):
            found.append(f'{where}: its constructor raises, but there is no "Raises:"')
    for name, member in vars(cls).items():
        if name.startswith("_") or not _is_method(member):
            continue
        versions = [vars(base)[name] for base in cls.__mro__ if name in vars(base)]
        found += _problems_of_function(f"{where}.{name}", versions)
    return found


def _is_method(member: Any) -> bool:
    """Whether it is a method or property that is written in this project, not generated by a decorator."""
    return _is_ours(_function(member))


def _function(member: Any) -> Any:
    """The plain function of a method, class method, property or decorated function."""
    if isinstance(member, property):
        member = member.fget
    elif isinstance(member, cached_property):
        member = member.func
    elif isinstance(member, classmethod | staticmethod):
        member = member.__func__
    return inspect.unwrap(member) if inspect.isroutine(member) else member


def _is_ours(function: Any) -> bool:
    return inspect.isfunction(function) and _node(function) is not None


def _problems_of_function(where: str, versions: list[Any]) -> list[str]:
    """versions: the function itself, and for a method those that it overrides, from the nearest base on."""
    docs = []
    for version in versions:
        function = _function(version)
        if _is_ours(function):
            docs.append(_doc(function))
        elif getattr(function, "__qualname__", "") != "Module.forward" and (inspect.getdoc(function) or "").strip():
            return []  # documented by the library whose method it is, as in gymnasium.Env.step
        elif getattr(function, "__name__", "") == "_forward_unimplemented":
            break
    docs = [doc for doc in docs if doc]
    found = _first_line(where, docs[0] if docs else None)
    if not docs:
        return found
    if not isinstance(versions[0], property | cached_property):
        found += _missing_args(where, _parameters(_function(versions[0])), docs)
    if _raises(versions[0]) and not any("Raises" in _sections(doc) for doc in docs):
        found.append(f'{where}: it raises, but there is no "Raises:"')
    return found


def _node(value: Any) -> ast.AST | None:
    return source_nodes(getattr(value, "__module__", "")).get(getattr(value, "__qualname__", ""))


def _doc(value: Any) -> str | None:
    """The docstring in the source: none where a dataclass or NamedTuple made one up."""
    node = _node(value)
    return ast.get_docstring(node) if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) else None


def _raises(member: Any) -> bool:
    node = _node(_function(member))
    return node is not None and any(_raised(child) for child in ast.iter_child_nodes(node))


def _raised(node: ast.AST) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
        return False
    if isinstance(node, ast.Raise) and node.exc is not None:
        return "NotImplementedError" not in ast.unparse(node.exc)
    return any(_raised(child) for child in ast.iter_child_nodes(node))


def _constructor_parameters(cls: type) -> list[str]:
    if getattr(cls, "_is_protocol", False) or issubclass(cls, BaseException):
        return []
    if dataclasses.is_dataclass(cls):
        return [field.name for field in dataclasses.fields(cls) if field.init and not field.name.startswith("_")]
    if hasattr(cls, "_fields"):
        return [field for field in cls._fields if not field.startswith("_")]
    makers = [function for name in ("__init__", "__new__") if inspect.isfunction(function := getattr(cls, name))]
    return [parameter for f in makers if _node(inspect.unwrap(f)) for parameter in _parameters(inspect.unwrap(f))]


def _parameters(function: Any) -> list[str]:
    arguments = _node(function).args  # type: ignore[union-attr]
    plain = [a.arg for a in (*arguments.posonlyargs, *arguments.args)]
    bound = plain[:1] if "." in function.__qualname__ and plain[:1] in (["self"], ["cls"]) else []
    options = [arguments.kwarg.arg] if arguments.kwarg else []
    return [*plain[len(bound) :], *(a.arg for a in arguments.kwonlyargs), *options]


def _missing_args(where: str, wanted: list[str], docs: list[str]) -> list[str]:
    described = {name for doc in docs for name in _described(doc)}
    return [f'{where}: parameter {name} is not described under "Args:"' for name in wanted if name not in described]


def _described(doc: str) -> set[str]:
    """The names with a text of their own under Args: those of the least indented lines `name: text`."""
    lines = _sections(doc).get("Args", [])
    indents = [len(line) - len(line.lstrip()) for line in lines if line.strip()]
    entries = [line.strip() for line in lines if line.strip() and len(line) - len(line.lstrip()) == min(indents)]
    texts = [*lines, ""]
    found: set[str] = set()
    for entry in entries:
        match = ENTRY.match(entry)
        if match and (match["text"] or _continued(entry, texts)):
            names = re.sub(r" \([^)]*\)", "", match[1])
            found |= {name.strip("*` ") for name in names.split(", ")}
    return found


def _continued(entry: str, lines: list[str]) -> bool:
    """Whether the line below an entry without text is an indented one, which describes it."""
    at = next(i for i, line in enumerate(lines) if line.strip() == entry)
    below = lines[at + 1]
    return bool(below.strip()) and len(below) - len(below.lstrip()) > len(lines[at]) - len(lines[at].lstrip())


def _sections(doc: str) -> dict[str, list[str]]:
    """Title of each Google section -> its lines."""
    found: dict[str, list[str]] = {}
    title = None
    for line in doc.splitlines():
        heading = SECTION.match(line)
        if heading:
            title = heading[1]
            found[title] = [line[heading.end() :]] if line[heading.end() :].strip() else []
        elif line.strip() and not line.startswith(" "):
            title = None
        elif title:
            found[title].append(line)
    return found


def _first_line(where: str, doc: str | None) -> list[str]:
    if not (doc or "").strip():
        return [f"{where}: no docstring"]
    line = doc.strip().splitlines()[0].strip()  # type: ignore[union-attr]
    found = []
    if len(line) > LONGEST:
        found.append(f"{where}: its first line has {len(line)} characters, want at most {LONGEST}: {line!r}")
    if FORBIDDEN.match(line) or not COMPLETE.match(line):
        found.append(f"{where}: its first line is not a complete sentence that says what this is: {line!r}")
    return found


PAGES = sorted({package_of(module) for module in module_names()})


@pytest.mark.parametrize("package", PAGES)
def test_every_public_name_has_a_complete_docstring(package):
    found = [line for module in module_names() if package_of(module) == package for line in problems(module)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(
    "line", ["What it is.", "Who hears whom.", "How it is done.", "A core", "Is it a core?", "a b."]
)
def test_a_first_line_that_is_no_complete_sentence_is_found(line):
    assert len(_first_line("x", line)) == 1


@pytest.mark.parametrize("line", ["A core of 3 members.", "`Core`s, wrapped.", "Whole episodes (T, B).", "1 of 3."])
def test_a_first_line_that_is_a_complete_sentence_passes(line):
    assert _first_line("x", line) == []


def test_parameters_are_read_from_the_section_args():
    doc = """A core.

    Args:
        a: first, b: of no meaning.
            c: a line that goes on.
        d, e (Tensor): two of them.
        **options: further ones.
        f:

    Raises:
        g: no parameter.
    """
    assert _described(inspect.cleandoc(doc)) == {"a", "d", "e", "options"}


def report(*prefixes: str) -> int:
    """Prints the problems of those packages or modules, of all where none is named, and a count for each package."""
    counts: dict[str, int] = {}
    for module in module_names():
        if not prefixes or any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes):
            found = problems(module)
            counts[package_of(module)] = counts.get(package_of(module), 0) + len(found)
            print(*found, sep="\n", end="\n" if found else "")
    print(*(f"{count:6} {package}" for package, count in counts.items()), f"{sum(counts.values()):6} in all", sep="\n")
    return min(1, sum(counts.values()))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    sys.exit(report(*sys.argv[1:]))
