"""Runs tests on the oldest versions that pyproject.toml allows, then on the newest on the registry.

    python tests/check_versions.py tests/test_experts.py                    # oldest, then newest
    python tests/check_versions.py --sets oldest --pins torch==2.13.0 -- tests/test_experts.py -x

Each set is installed in an environment of its own, which is removed afterwards. The newest torch, and on Linux the
oldest too, is a CUDA build of gigabytes unless TORCH_INDEX names an index of CPU builds, such as
https://download.pytorch.org/whl/cpu. Wants Python 3.11 or newer. `make check-versions` is the short form.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parent.parent
EXTRAS = ("data", "minari", "planning", "test")  # what the tests import
SETS = ("oldest", "newest")


def requirements(project: dict) -> list[str]:
    """Run time and extras, each `name>=floor`; references of the project to its own extras left out."""
    named = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    return [line for line in named if not line.startswith(project["name"])]


def oldest(lines: Sequence[str]) -> list[str]:
    """The floors, as pins.

    Raises:
        ValueError: a requirement without one.
    """
    without = [line for line in lines if line.count(">=") != 1]
    if without:
        raise ValueError(f"pyproject.toml has {without}, want name>=floor")
    return [line.replace(">=", "==") for line in lines]


def pinned(constraints: Sequence[str], pins: Sequence[str]) -> list[str]:
    """The constraints, those of the pins' packages replaced by the pins."""
    names = {pin.split("==")[0] for pin in pins}
    return [*(line for line in constraints if line.split("==")[0] not in names), *pins]


def check(name: str, constraints: Sequence[str], pytest: Sequence[str]) -> int:
    """pytest's exit code in a new environment of these versions; what is not constrained is the newest."""
    with tempfile.TemporaryDirectory(prefix=f"{name}-versions-") as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / "bin" / "python")
        (Path(folder) / "constraints.txt").write_text("\n".join(constraints))
        install = [python, "-m", "pip", "install", "--quiet", "-c", str(Path(folder) / "constraints.txt")]
        index = os.environ.get("TORCH_INDEX")
        # torch first, so that no other package has a say in which build is taken
        subprocess.run([*install, "torch", *(["--index-url", index] if index else [])], check=True)
        subprocess.run([*install, "-e", f"{ROOT}[{','.join(EXTRAS)}]"], check=True)
        print(f"the {name} versions:", flush=True)
        subprocess.run([python, "-m", "pip", "freeze", "--exclude-editable"], check=True)
        return subprocess.run([python, "-m", "pytest", *pytest], cwd=ROOT).returncode


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--pins", nargs="*", default=(), metavar="NAME==VERSION", help="in the place of both sets'")
    parser.add_argument("pytest", nargs="+", help="paths and options of pytest")
    given = parser.parse_args()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    sets = {"oldest": oldest(requirements(project)), "newest": []}
    codes = {name: check(name, pinned(sets[name], given.pins), given.pytest) for name in given.sets}
    print(", ".join(f"{name}: {'failed' if code else 'passed'}" for name, code in codes.items()))
    return max(codes.values())


if __name__ == "__main__":
    sys.exit(main())
