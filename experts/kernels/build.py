"""Compiles the C sources of this folder into one shared library.

Uses the standard library alone, as it also runs while a wheel is built, without torch: `hatch_build.py` loads it by its
path. In a checkout, `python -m experts.kernels` builds the library in place.
"""

import os
import shlex
import shutil
import subprocess
import tempfile
import zlib
from pathlib import Path

FOLDER = Path(__file__).parent
FILE = "kernels.so"
"""Name of the shared library beside the sources. ctypes loads it by its path, so all systems have the same name."""

FLAGS = (
    "-O3", "-fPIC", "-fopenmp-simd", "-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math",
    "-Wall",
)  # fmt: skip
"""Options of the compiler.

Without -ffast-math: it discards NaN, and a library linked with it changes how the process treats denormal numbers.
Without -march: the machine that compiles need not be the one that runs.
"""

CLONES = (
    '__attribute__((target_clones("arch=x86-64-v4","arch=x86-64-v3","default")))',
    '__attribute__((target_clones("avx512f","avx2","default")))',
    "",
)
"""Values of the macro of real.h, from the fastest code on; the first that compiles is used."""


class BuildFailed(RuntimeError):
    """The kernels were not compiled; the message says why."""


def sources(folder: Path = FOLDER) -> list[Path]:
    """The C sources, sorted.

    Args:
        folder: where they are.
    """
    return sorted(folder.glob("*.c"))


def checksum(folder: Path = FOLDER) -> int:
    """Checksum of sources and headers, which identifies the interface of a library that was built from them.

    Args:
        folder: where they are.
    """
    value = 0
    for file in sorted([*sources(folder), *folder.glob("*.h")]):
        value = zlib.crc32(file.read_bytes().replace(b"\r\n", b"\n"), zlib.crc32(file.name.encode(), value))
    return value


def find_compiler() -> list[str]:
    """The command of the C compiler: the environment variable CC, else cc, gcc or clang.

    Raises:
        BuildFailed: there is none.
    """
    chosen = os.environ.get("CC")
    if chosen:
        return shlex.split(chosen)
    for name in ("cc", "gcc", "clang"):
        if found := shutil.which(name):
            return [found]
    raise BuildFailed("no C compiler is on the path: looked for cc, gcc and clang; CC=... names another")


def build_library(target: Path, folder: Path = FOLDER) -> None:
    """Compiles all sources, each for float and for double, and replaces the target at once.

    Args:
        target: file of the shared library.
        folder: where the sources are.

    Raises:
        BuildFailed: there is no compiler, or it failed.
    """
    compiler = find_compiler()
    with tempfile.TemporaryDirectory() as temporary:
        errors = ""
        for clones in CLONES:
            try:
                library = _compile(compiler, folder, Path(temporary), clones)
            except subprocess.CalledProcessError as error:
                errors = error.stderr
            except OSError as error:
                raise BuildFailed(f"{compiler[0]} cannot be run: {error}") from error
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                copy = target.with_name(f"{target.name}.{os.getpid()}")
                shutil.copyfile(library, copy)
                os.replace(copy, target)  # a process that has loaded the old library keeps it
                return
    raise BuildFailed(f"{shlex.join(compiler)} failed: {errors.strip()[-2000:] or 'without a message'}")


def _compile(compiler: list[str], folder: Path, temporary: Path, clones: str) -> Path:
    """The linked library in the temporary folder."""
    macros = [f"-DCLONES={clones}", f"-DBADGER_SOURCES={checksum(folder)}u"]
    objects = []
    for source in sources(folder):
        for real, options in {"float": [], "double": ["-DBADGER_DOUBLE"]}.items():
            objects.append(str(temporary / f"{source.stem}_{real}.o"))
            _run([*compiler, *FLAGS, *macros, *options, "-c", str(source), "-o", objects[-1]])
    library = temporary / FILE
    _run([*compiler, "-shared", *objects, "-o", str(library)])
    if not library.exists():  # such as CC=true
        raise BuildFailed(f"{shlex.join(compiler)} wrote no library")
    return library


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, text=True, errors="replace")
