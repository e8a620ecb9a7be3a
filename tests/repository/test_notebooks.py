"""Every notebook runs in its smoke mode, and is committed with its outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).resolve().parents[2] / "notebooks").glob("*.ipynb"))

# Studies and benchmarks start processes. Here they are forked from a server that has imported everything once;
# spawned processes would take five seconds of CPU each for their imports.
FORKED = f"""
import multiprocessing
import sys

import pytest

sys.path.append({str(Path(__file__).resolve().parents[1])!r})
from badger.bench import measure
from forked_children import patch_children

context = multiprocessing.get_context("forkserver")
names = ["forked_children", "badger.study.trial", "badger.recipes", "badger.bench", "torch._dynamo"]
context.set_forkserver_preload(names)
measure.get_context = lambda method=None: context
patch_children(pytest.MonkeyPatch(), context)
"""


@pytest.mark.timeout(600)  # the fifth trains and measures in 20 processes
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("BADGER_SMOKE", "1")
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(FORKED))
    NotebookClient(notebook, timeout=170, resources={"metadata": {"path": tmp_path}}).execute()
    errors = [out for cell in notebook.cells for out in cell.get("outputs", []) if out["output_type"] == "error"]
    assert not errors


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_is_committed_with_its_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in cells)
    assert any(cell.outputs for cell in cells)
