"""Rules for the source code: imports, packages, and agreement between the project's files."""

import ast
import importlib
import itertools
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import networkx as nx

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("experts", "comms", "tasks")
PACKAGES = (*PARTS, "badger")
BASE = {"torch", "numpy", "networkx", "jaxtyping"} | sys.stdlib_module_names
OPTIONAL = {
    "pettingzoo", "gymnasium", "matplotlib", "tensorboard", "pooch", "sb3_contrib", "stable_baselines3",
    "ale_py", "cv2", "scipy", "hnswlib", "faiss", "h5py",
}  # fmt: skip
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


LAYERS = (  # inside badger: a module imports modules of its own line and of the lines below
    ("__main__", "cli"),
    ("testing", "bench", "study"),
    ("recipes",),
    ("runs",),
    ("evaluation", "learners", "planning"),
    ("datasets",),
    ("figures", "rollouts"),
    ("sharding",),
    ("policies", "act", "sense", "normalized_sense", "agent"),
    ("registry", "trust", "rng", "distributed", "moments", "teams", "host_memory"),
    ("errors", "version"),
)
KERNEL_OF_A_BUS = Path("comms/attention_step.py")  # the one file of comms that calls kernels, which experts has
UNDER_KERNELS = ("experts.kernels.library.", "experts.second_derivatives.", "experts.torch_internals.")
MAX_MODULES = {"comms": 16}  # in a folder; 14 in the others


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


def dotted(file: Path) -> str:
    """The dotted name of a module from its file."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def module_graph() -> nx.DiGraph:
    """Edges from each module to those that it imports, also inside functions.

    Importing a name from a package counts as importing its __init__; loading a package before its modules does not.
    """
    modules = {dotted(file) for file in sources(*PACKAGES)}
    graph = nx.DiGraph()
    graph.add_nodes_from(modules)
    for imported in imports(*PACKAGES):
        owner = imported.name.rpartition(".")[0]
        module = imported.name if imported.name in modules else owner
        if module in modules:
            graph.add_edge(dotted(ROOT / imported.file), module)
    return graph


def layer(module: str) -> int:
    """Index of the line of LAYERS, 0 at the bottom."""
    part = module.split(".")[1] if "." in module else "badger itself"
    lines = [line for line, parts in enumerate(reversed(LAYERS)) if part in parts]
    assert lines, f"{module} belongs to no line of LAYERS"
    return lines[0]


def outside_fork_rng(node: ast.AST) -> Iterator[ast.Call]:
    """Calls outside of `with torch.random.fork_rng()`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.With) and any("fork_rng" in ast.unparse(item) for item in child.items):
            continue
        if isinstance(child, ast.Call):
            yield child
        yield from outside_fork_rng(child)


def python(code: str) -> str:
    """Output of a new interpreter: this one has imported everything."""
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_experts_comms_and_tasks_import_torch_numpy_networkx_and_themselves():
    own = [i for i in imports(*PARTS) if not (i.file == KERNEL_OF_A_BUS and i.name.startswith(UNDER_KERNELS))]
    wrong = [i for i in own if i.library not in BASE | OPTIONAL | {i.file.parts[0]}]
    assert not wrong, "\n".join(map(str, wrong))


def test_badger_imports_what_pyproject_declares():
    declared = {"docstring_parser", "filelock", "tqdm", "typeguard", "tyro"}
    wrong = [i for i in imports("badger") if i.library not in BASE | OPTIONAL | declared | {*PACKAGES}]
    assert not wrong, "\n".join(map(str, wrong))


def test_optional_libraries_are_imported_inside_functions():
    wrong = [i for i in imports(*PACKAGES) if i.library in OPTIONAL and not i.inside]
    assert not wrong, "\n".join(map(str, wrong))


def test_an_optional_library_is_imported_in_one_file_only():
    found = {(i.library, i.file) for i in imports(*PACKAGES) if i.library in OPTIONAL}
    assert len({library for library, _ in found}) == len(found), sorted(found)


def test_there_is_no_circle_of_imports():
    circles = [sorted(group) for group in nx.strongly_connected_components(module_graph()) if len(group) > 1]
    assert not circles and not list(nx.selfloop_edges(module_graph())), circles


def test_badger_imports_downwards_only():
    inside = [(a, b) for a, b in module_graph().edges if a.startswith("badger.") and b.split(".")[0] == "badger"]
    itself = [f"{a} imports badger itself: import the module that defines the name" for a, b in inside if b == "badger"]
    upwards = [f"{a} imports {b}" for a, b in inside if b != "badger" and layer(a) < layer(b)]
    assert not itself + upwards, "\n".join(itself + upwards)


def test_no_folder_has_too_many_modules():
    folders = Counter(file.parent.relative_to(ROOT).as_posix() for file in sources(*PACKAGES) if file.stem[0] != "_")
    crowded = {folder: n for folder, n in folders.items() if n > MAX_MODULES.get(folder, 14)}
    assert not crowded, crowded


def test_each_folder_is_a_package_with_a_docstring():
    folders = sorted({file.parent for file in sources(*PACKAGES)})
    silent = [str(folder) for folder in folders if not ast.get_docstring(tree(folder / "__init__.py"))]
    assert not silent, silent


def test_no_name_in_a_package_hides_a_module():
    """`package.module` is the module, whatever else has been imported."""
    modules = [
        dotted(file) for file in sources(*PACKAGES) if file.stem != "__main__" and "references" not in file.parts
    ]
    for name in modules:
        importlib.import_module(name)
    hidden = []
    for name in modules:
        package, _, own = name.rpartition(".")
        if package and getattr(sys.modules[package], own, None) is not sys.modules[name]:
            hidden.append(f"{package}.{own} is not the module {name}")
    assert not hidden, "\n".join(hidden)


def test_learners_never_import_each_other():
    from badger import LEARNERS

    graph, learners = module_graph(), sorted({entry.__module__ for entry in LEARNERS.values()})
    wrong = [(a, b) for a, b in itertools.permutations(learners, 2) if nx.has_path(graph, a, b)]
    assert len(learners) > 1 and not wrong, wrong


def test_no_file_sets_a_global_seed():
    """A seed inside of `with torch.random.fork_rng()` is restored, and allowed; so is a worker's own process."""
    shared = [file for file in sources(*PACKAGES) if file.name != "env_worker.py"]
    calls = [(file, n.func) for file in shared for n in outside_fork_rng(tree(file))]
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
