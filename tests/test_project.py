"""The rules of the house, read off the source: who imports what, and what the project's files agree on."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PARTS = ("experts", "comms", "tasks")
PACKAGES = (*PARTS, "badger")
BASE = {"torch", "numpy", "networkx", "jaxtyping"} | sys.stdlib_module_names
OPTIONAL = {"pettingzoo", "gymnasium", "matplotlib", "tensorboard", "pooch", "sb3_contrib", "stable_baselines3"}
SLOW_TO_IMPORT = {
    "matplotlib",
    "pettingzoo",
    "gymnasium",
    "tensorboard",
    "tyro",
    "scipy",
    "pandas",
    "IPython",
    "torch._dynamo",
}
DICTS = ("CORES", "BUSES", "TOPOLOGIES", "TASKS", "LEARNERS", "RECIPES")


class Import(NamedTuple):
    file: Path
    name: str  # dotted and absolute, with the imported name: from .state import pack -> experts.state.pack
    inside: bool  # of a function

    @property
    def library(self) -> str:
        return "tensorboard" if self.name.startswith("torch.utils.tensorboard") else self.name.split(".")[0]

    def __str__(self) -> str:
        return f"{self.file} imports {self.name}"


def sources(*packages: str) -> list[Path]:
    return [file for package in packages for file in sorted((ROOT / package).rglob("*.py"))]


def tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(*packages: str) -> list[Import]:
    return [i for file in sources(*packages) for i in walk(tree(file), file.relative_to(ROOT))]


def walk(node: ast.AST, file: Path, inside: bool = False) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(file, alias.name, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = file.parts[: len(file.parts) - child.level] if child.level else ()
            base = [*above, *filter(None, [child.module])]
            yield from (Import(file, ".".join([*base, alias.name]), inside) for alias in child.names)
        else:
            function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from walk(child, file, inside or function)


def python(code: str) -> str:
    """What a fresh interpreter prints: this one has long imported everything."""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_experts_comms_and_tasks_import_torch_numpy_networkx_and_themselves():
    wrong = [i for i in imports(*PARTS) if i.library not in BASE | OPTIONAL | {i.file.parts[0]}]
    assert not wrong, "\n".join(map(str, wrong))


def test_badger_imports_what_pyproject_declares():
    wrong = [i for i in imports("badger") if i.library not in BASE | OPTIONAL | {*PACKAGES, "tqdm", "tyro"}]
    assert not wrong, "\n".join(map(str, wrong))


def test_optional_libraries_are_imported_inside_functions():
    wrong = [i for i in imports(*PACKAGES) if i.library in OPTIONAL and not i.inside]
    assert not wrong, "\n".join(map(str, wrong))


def test_an_optional_library_is_imported_in_one_file_only():
    found = {(i.library, i.file) for i in imports(*PACKAGES) if i.library in OPTIONAL}
    assert len({library for library, _ in found}) == len(found), sorted(found)


def test_learners_never_import_each_other():
    learners = [i for i in imports("badger") if i.file.parts[1] == "learners" and i.file.name != "__init__.py"]
    wrong = [i for i in learners if i.name.startswith("badger.learners")]
    assert not wrong, "\n".join(map(str, wrong))


def test_no_file_sets_a_global_seed():
    calls = [(file, n.func) for file in sources(*PACKAGES) for n in ast.walk(tree(file)) if isinstance(n, ast.Call)]
    seeding = re.compile(
        r"(torch(\.random|\.cuda|\.mps)?\.(manual_)?seed(_all)?|(np|numpy)\.random\.seed|random\.seed)"
    )
    wrong = [f"{file}:{f.lineno} {ast.unparse(f)}" for file, f in calls if seeding.fullmatch(ast.unparse(f))]
    wrong += [str(i) for i in imports(*PACKAGES) if seeding.fullmatch(i.name)]
    assert not wrong, "\n".join(wrong)


def test_badger_imports_without_the_optional_libraries():
    python(f"import sys; sys.modules.update(dict.fromkeys({sorted(OPTIONAL)})); import badger")


def test_importing_badger_loads_nothing_slow():
    loaded = python(f"import sys, badger; print(*sorted({SLOW_TO_IMPORT} & set(sys.modules)))")
    assert loaded == ""


def test_each_package_is_typed():
    assert [p for p in PACKAGES if not (ROOT / p / "py.typed").is_file()] == []


def test_badger_exports_every_dict_of_names():
    import badger

    assert set(DICTS) <= set(badger.__all__)
    for name in DICTS:
        entries = getattr(badger, name)
        assert entries and all(isinstance(key, str) and callable(entry) for key, entry in entries.items()), name


def test_ci_runs_the_test_command_of_the_readme():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    command = [line for line in script if line and not line.startswith(("#", "set "))]
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    shown = [line.split("#")[0].removeprefix("$ ").strip() for block in blocks for line in block.splitlines()]
    assert len(command) == 1 and command[0] in shown, f".ci/run calls {command}, the README shows {shown}"


def test_the_version_is_the_same_everywhere():
    import badger

    def find(file: str, pattern: str) -> list[str]:
        return re.findall(pattern, (ROOT / file).read_text(encoding="utf-8"), re.M)

    assert find("pyproject.toml", r'^version = "(.+)"') == [badger.__version__]
    assert find("CITATION.cff", r"^version: (.+)") == [badger.__version__]
    assert badger.__version__ in find("CHANGELOG.md", r"^## \[(.+?)\]")
