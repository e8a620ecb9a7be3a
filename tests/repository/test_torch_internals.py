"""Private names of torch are used in one file only, and what stands there does what it says."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.autograd import Function
from torch.func import grad, vmap

from experts import torch_internals

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("badger", "comms", "experts", "tasks")
ROOM = ROOT / "experts" / "torch_internals.py"
FILES = [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
TUPLES = {"_replace", "_fields", "_asdict", "_make"}  # of a NamedTuple: documented in spite of the underscore


def private(name: str) -> bool:
    return name.startswith("_") and not (name.startswith("__") and name.endswith("__"))


def root(node: ast.expr) -> str:
    """The name that a chain of attributes begins with; "" for what is no name."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def own_names(trees: list[ast.Module]) -> set[str]:
    """Private names that the packages define themselves."""
    found = set(TUPLES)
    for node in (node for tree in trees for node in ast.walk(tree)):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.id if isinstance(node, ast.Name) else node.attr)
    return found


def private_uses(tree: ast.Module, own: set[str]) -> Iterator[str]:
    """Private names of torch, and private attributes of objects that no class of ours defines."""
    libraries = {"torch"}  # names that stand for a part of torch
    others = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                of_torch = alias.name.split(".")[0] == "torch"
                (libraries if of_torch else others).add(alias.asname or alias.name.split(".")[0])
                if of_torch and any(private(part) for part in alias.name.split(".")):
                    yield alias.name
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            libraries |= {alias.asname or alias.name for alias in node.names}
            for alias in node.names:
                if any(private(part) for part in (*str(node.module).split("."), alias.name)):
                    yield f"{node.module}.{alias.name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and private(node.attr):
            base = root(node.value)
            if base in libraries or (base not in others and node.attr not in own):
                yield ast.unparse(node)


TREES = {path: ast.parse(path.read_text()) for path in FILES}
OWN = own_names([tree for path, tree in TREES.items() if path != ROOM])


def test_private_names_of_torch_are_used_in_one_file_only():
    found = {str(path.relative_to(ROOT)): list(private_uses(tree, OWN)) for path, tree in TREES.items() if path != ROOM}
    assert {path: uses for path, uses in found.items() if uses} == {}


def test_no_backward_pass_relies_on_once_differentiable():
    assert [path for path in FILES if path.name != "second_derivatives.py" and "once_diff" in path.read_text()] == []


@pytest.mark.parametrize(
    "line",
    [
        "import torch; torch._C._current_graph_task_id()",
        "import torch; torch._softmax_backward_data",
        "from torch._dynamo.exc import TorchDynamoException",
        "import torch._dynamo",
        "from torch import _C",
        "from torch.autograd import Function; Function._backward_cls",
        "x._version",
        "def f(x): return x.grad_fn._saved_self",
    ],
)
def test_a_private_name_is_found(line):
    assert list(private_uses(ast.parse(line), OWN))


@pytest.mark.parametrize("line", ["self._own = 1; self._own", "state._replace(h=h)", "import os; os._exit(1)"])
def test_names_that_are_not_torch_s_are_let_pass(line):
    tree = ast.parse(line)
    assert list(private_uses(tree, own_names([tree]))) == []


def test_every_function_says_why_it_is_private_and_what_would_replace_it():
    tree = ast.parse(ROOM.read_text())
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert len(functions) >= 7
    assert [f.name for f in functions if "Public replacement:" not in (ast.get_docstring(f) or "")] == []


# What they do


def test_transforms_are_seen_while_they_run():
    seen = []

    def noted(x):
        seen.append(torch_internals.functorch_active())
        return x.sum()

    x = torch.zeros(2, 3)
    noted(x), vmap(noted)(x), grad(noted)(x)
    assert seen == [False, True, True]


def test_both_kinds_of_batched_tensors_are_seen():
    seen = []

    def noted(x):
        seen.append(torch_internals.is_batched(x))
        return x

    x = torch.ones(3, requires_grad=True)
    y = x * 1
    y.register_hook(noted)
    torch.autograd.grad(y, x, torch.ones(2, 3), is_grads_batched=True, retain_graph=True)
    torch.autograd.grad(y, x, torch.ones(3))
    vmap(noted)(torch.ones(2, 3))
    assert seen == [True, False, True]


def test_only_what_is_recorded_around_the_innermost_transform_counts():
    seen = []

    def noted(x):
        seen.append(torch_internals.recorded_outside(x))
        return x.sum()

    x = torch.zeros(3)
    grad(noted)(x)
    grad(noted)(x.clone().requires_grad_())
    grad(lambda x: grad(noted)(x).sum())(x)
    vmap(grad(noted))(torch.zeros(2, 3))
    assert seen == [False, True, True, False]


def test_a_backward_pass_has_a_number_and_none_runs_outside_of_it():
    seen = []
    x = torch.ones((), requires_grad=True)
    x.register_hook(lambda _: seen.append(torch_internals.backward_pass()))
    (2 * x).backward()
    (2 * x).backward()
    assert torch_internals.backward_pass() == -1
    assert -1 not in seen and len(set(seen)) == 2


def test_a_version_counts_changes_in_place():
    x = torch.zeros(2)
    before = torch_internals.version(x)
    x.add_(1)
    assert torch_internals.version(x) == before + 1
    with torch.inference_mode():
        assert torch_internals.version(torch.zeros(2)) == -1


class Twice(Function):
    @staticmethod
    def forward(ctx, x):
        return 2 * x, 3 * x

    @staticmethod
    def backward(ctx, first, second):
        return 2 * first + 3 * second


class Other(Twice):
    pass


def test_the_call_behind_an_output_is_found_through_views():
    x = torch.ones(4, requires_grad=True)
    first, second = Twice.apply(x)
    seen = second.view(2, 2).view(4, 1)
    made = torch_internals.made_by((seen.grad_fn, seen.output_nr), Twice)
    assert made is not None
    assert made[0] is first.grad_fn and made[1] == 1


def test_what_another_function_made_is_not_taken_for_it():
    x = torch.ones(4, requires_grad=True)
    for y in (x, Twice.apply(x)[0] + 1, Other.apply(x)[0]):
        assert torch_internals.made_by((y.grad_fn, y.output_nr), Twice) is None


def test_the_next_step_of_a_fused_optimizer_is_skipped_where_told():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], fused=True)
    weight.grad = torch.ones(2)
    torch_internals.skip_next_step(optimizer, torch.tensor(True))
    optimizer.step()
    assert weight.equal(torch.ones(2))
    torch_internals.skip_next_step(optimizer, torch.tensor(False))
    optimizer.step()
    assert not weight.equal(torch.ones(2))


def test_the_error_of_the_compiler_is_an_exception():
    assert issubclass(torch_internals.compiler_error(), Exception)


def test_fake_tensors_have_devices_but_no_values():
    module = torch.nn.Linear(2, 3).to("meta")
    with torch_internals.fake_tensors() as fake_copy:
        copied = fake_copy(module)
        y = copied(torch.ones(4, 2, device="meta"))
        y.sum().backward()
        assert y.device.type == "meta" and copied.weight.grad.shape == (3, 2)
        for read in (bool, float, torch.Tensor.tolist):
            with pytest.raises(Exception, match=r"tolist|_local_scalar_dense"):
                read(y.sum())
    assert module.weight.grad is None and torch.ones(1).item() == 1


def test_the_users_of_a_storage_are_tensors_views_and_graphs():
    x, w = torch.ones(3), torch.ones(3, requires_grad=True)
    assert torch_internals.storage_users(x) == 1
    view = x[1:]
    assert torch_internals.storage_users(x) == 2
    product = x * w  # saves x for its backward pass, which may share the tensor itself
    del view
    assert torch_internals.storage_users(x) >= 1
    y = (x.view(3) * w).sum()  # the view is gone, but the graph has it
    assert torch_internals.storage_users(x) == 2
    del product, y
    assert torch_internals.storage_users(x) == 1
