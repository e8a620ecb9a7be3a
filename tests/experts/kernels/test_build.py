"""The kernels are compiled into one library, and an installation without a compiler works without them."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from experts.kernels import build
from experts.kernels.library import load

ROOT = Path(__file__).resolve().parents[3]

SOURCE = '#include "real.h"\nKERNEL(double_it, (REAL *x), (x)) { x[0] *= 2; }\n'

needs_compiler = pytest.mark.skipif(not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="no C compiler")


def small_folder(folder):
    """Sources that are compiled quickly."""
    for name in ("real.h", "version.c"):
        shutil.copy(build.FOLDER / name, folder / name)
    (folder / "double_it.c").write_text(SOURCE)
    return folder


@needs_compiler
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_library_has_each_function_for_both_types(compiler, tmp_path, monkeypatch):
    import ctypes

    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    monkeypatch.setenv("CC", compiler)
    folder = small_folder(tmp_path)
    build.build_library(folder / build.FILE, folder)
    handle, description = load(folder / build.FILE, build.checksum(folder))
    assert description.startswith(f"built with {compiler} ")
    for suffix, real in {"float": ctypes.c_float, "double": ctypes.c_double}.items():
        x = (real * 1)(1.5)
        getattr(handle, f"double_it_{suffix}")(x)
        assert x[0] == 3


@needs_compiler
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.nightly
def test_all_sources_compile_without_warnings(compiler, tmp_path, monkeypatch):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    monkeypatch.setenv("CC", f"{compiler} -Werror")
    build.build_library(tmp_path / build.FILE)


@pytest.mark.parametrize(
    "compiler, reason", [("false", "false failed"), ("no-such-cc", "cannot be run"), ("true", "wrote no")]
)
def test_a_compiler_that_fails_is_named(compiler, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(build.BuildFailed, match=reason):
        build.build_library(tmp_path / build.FILE)
    assert not (tmp_path / build.FILE).exists()


def test_without_a_compiler_the_message_says_what_was_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(build.BuildFailed, match="looked for cc, gcc and clang"):
        build.build_library(tmp_path / build.FILE)


def test_no_option_of_the_compiler_discards_nan_or_needs_this_processor():
    assert not {"-ffast-math", "-Ofast", "-ffinite-math-only", "-march=native"} & set(build.FLAGS)


def test_a_library_of_other_sources_is_refused(tmp_path, monkeypatch):
    folder = small_folder(tmp_path)
    before = build.checksum(folder)
    (folder / "double_it.c").write_text(SOURCE.replace("2", "3"))
    assert build.checksum(folder) != before
    if any(map(shutil.which, ("cc", "gcc", "clang"))):
        build.build_library(folder / build.FILE, folder)
        with pytest.warns(RuntimeWarning, match="from other sources"):
            handle, description = load(folder / build.FILE, before)
        assert handle is None and description.startswith("none: ")


def test_a_file_that_is_no_library_is_refused(tmp_path):
    (tmp_path / build.FILE).write_text("not a library")
    with pytest.warns(RuntimeWarning, match="cannot be loaded"):
        assert load(tmp_path / build.FILE, 0).handle is None


def test_a_missing_library_is_no_warning_and_says_how_to_get_it(tmp_path):
    handle, description = load(tmp_path / build.FILE, 0)
    assert handle is None and "python -m experts.kernels" in description


@pytest.mark.nightly
@pytest.mark.parametrize("compiler", ["false", None])
def test_a_wheel_is_built_with_and_without_a_compiler(compiler, tmp_path):
    if compiler is None and not any(map(shutil.which, ("cc", "gcc", "clang"))):
        pytest.skip("no C compiler")
    variables = {name: value for name, value in os.environ.items() if name != "CC"}
    if compiler is not None:
        variables["CC"] = compiler
    command = [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "-w", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert ("experts/kernels/kernels.so" in names) == (compiler is None)
    assert {"experts/kernels/version.c", "experts/kernels/real.h"} <= set(names)
    assert wheel.stem.endswith("-py3-none-any") == (compiler is not None)
    assert "-py3-none-" in wheel.stem
    assert ("building without kernels" in done.stdout + done.stderr) == (compiler is not None)
