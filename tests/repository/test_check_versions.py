"""The oldest versions are the lower bounds of pyproject.toml, and pins replace them."""

import pytest

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
import check_versions  # noqa: E402

PROJECT = tomllib.loads((check_versions.ROOT / "pyproject.toml").read_text())["project"]


def test_the_oldest_versions_are_the_lower_bounds_of_pyproject():
    found = check_versions.oldest(check_versions.requirements(PROJECT))
    assert len(found) == len(set(found)) >= len(PROJECT["dependencies"])
    assert {line.split(">=")[0] for line in PROJECT["dependencies"]} <= {line.split("==")[0] for line in found}
    assert all(line.count("==") == 1 for line in found)


def test_a_requirement_without_a_lower_bound_is_refused():
    with pytest.raises(ValueError, match=r"'numpy'.*want name>=floor"):
        check_versions.oldest(["torch>=2.6", "numpy"])


def test_a_pin_replaces_a_constraint():
    assert check_versions.pinned(["torch==2.6", "numpy==1.26"], ["torch==2.13.0"]) == ["numpy==1.26", "torch==2.13.0"]
    assert check_versions.pinned([], ["torch==2.13.0"]) == ["torch==2.13.0"]
