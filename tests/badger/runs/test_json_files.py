"""The types of fields of JSON files."""

import re
from typing import Any, Literal, TypedDict

import pytest

from badger.errors import DamagedFile
from badger.runs.json_files import REQUIRED, describe, mismatch, read_json


class Score(TypedDict):
    mean: float | None


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (3, int), (3, float), (3.5, float), (True, bool), (None, None), (None, int | None), ("a", Literal["a", "b"]),
        ([1, 2], list[int]), ([1, 2.5], tuple[int, float]), ([1, 2, 3], tuple[int, ...]),
        ({"a": {"b": 1}}, dict[str, Any]), ({"mean": None, "more": 1}, Score), ([1, 2], int | tuple[int, int]),
    ],
)  # fmt: skip
def test_values_of_a_type_fit(value, wanted):
    assert mismatch(value, wanted, "x") is None


@pytest.mark.parametrize(
    ("value", "wanted", "problem"),
    [
        (True, int, "x is True, want int"),
        (1.0, int, r"x is 1\.0, want int"),
        (10**400, float, r"x is 1000.*0000, want float"),
        ("3", int | None, r"x is '3', want int \| None"),
        ("c", Literal["a", "b"], "x is 'c', want 'a' or 'b'"),
        ([1, "b"], list[int], r"x\.1 is 'b', want int"),
        ([1], tuple[int, int], r"x is \[1\], want tuple\[int, int\]"),
        ({"a": {"b": None}}, dict[str, dict[str, int]], r"x\.a\.b is None, want int"),
        ({}, Score, r"it has no field x\.mean"),
        ([], Score, r"x is \[\], want an object with mean"),
        ({1: 2}, dict[str, int], "x is {1: 2}, want"),
        (["a"] * 100, dict[str, int], r"x is \['a', .*\.\.\.\], want"),
        (REQUIRED, Any, "it has no field x"),
    ],
)
def test_a_value_of_another_type_is_described(value, wanted, problem):
    found = mismatch(value, wanted, "x")
    assert found is not None and re.match(problem, describe(found))


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "3", "null", '{"a": 1', '{"a": ' + "[" * 100_000, '{"a": ' + "1" * 5000, "\xff",
        '{"a": ' + "[" * 60 + "1" + "]" * 60 + "}",
    ],
)  # fmt: skip
def test_a_file_without_a_json_object_is_damaged(tmp_path, text):
    (tmp_path / "file.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(DamagedFile, match=r"file\.json is damaged: .*; do this") as error:
        read_json(tmp_path / "file.json", {"a": (Any, REQUIRED)}, "do this")
    assert error.value.file == tmp_path / "file.json"


@pytest.mark.parametrize("text", [r'{"a": ["\u001b[2J"]}', r'{"a": {"\u0007": 1}}', '{"a": "\x9b31m"}'])
def test_control_characters_do_not_reach_the_terminal(tmp_path, text):
    (tmp_path / "file.json").write_text(text)
    with pytest.raises(DamagedFile, match="control characters") as error:
        read_json(tmp_path / "file.json", {"a": (Any, REQUIRED)})
    assert str(error.value).isprintable()


def test_a_damaged_file_knows_the_field(tmp_path):
    (tmp_path / "file.json").write_text('{"a": {"b": [1, "c"]}}')
    with pytest.raises(DamagedFile) as error:
        read_json(tmp_path / "file.json", {"a": (dict[str, list[int]], REQUIRED)})
    assert error.value.place == "a.b.1"


def test_fields_that_are_not_there_have_their_default(tmp_path):
    (tmp_path / "file.json").write_text('{"b": 2}')
    default: list[int] = []
    content = read_json(tmp_path / "file.json", {"a": (list[int], default)})
    assert content == {"a": []} and content["a"] is not default
