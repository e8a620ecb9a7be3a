"""Flags of the command line: options of parts, and errors that name what was typed."""

import pytest

from badger.cli.flags import parse_flags
from badger.cli.main import main
from badger.cli.typed import name_flags, typed_flags
from badger.cli.usage import UsageError
from badger.recipes import RECIPES

PROG = "badger train"


def test_only_options_that_were_typed_are_returned():
    given = parse_flags(RECIPES["t_maze"], ["--core", "dnc", "--core.slots=5", "--core.no-masking"], prog=PROG)
    options = {name: value for name, value in given.items() if "." in name}
    assert given["core"] == "dnc" and options == {"core.slots": 5, "core.masking": False}


def test_options_are_those_of_the_part_that_is_typed_or_else_of_the_recipe():
    given = parse_flags(RECIPES["maze"], ["--core.heads", "2"], prog=PROG)  # of its neural memory
    assert given["core.heads"] == 2
    with pytest.raises(UsageError, match=r"--core.heads 2: badger train has no flag --core.heads; did you mean"):
        parse_flags(RECIPES["maze"], ["--core", "gru", "--core.heads", "2"], prog=PROG)


def test_help_shows_the_options_of_the_part(capsys):
    with pytest.raises(SystemExit):
        parse_flags(RECIPES["t_maze"], ["--bus", "workspace", "--help"], prog=PROG)
    text = capsys.readouterr().out
    assert "--bus.top-k" in text and "--learner.entropy-weight" in text


def test_names_that_were_typed_become_flags_in_errors():
    words = ["--outer-steps", "0", "--core.slots=0"]
    assert name_flags("outer_steps=0, want at least 1", words) == "--outer-steps 0: want at least 1"
    assert name_flags("slots=0, want at least 1", words) == "--core.slots 0: want at least 1"
    assert name_flags("batch=0, want at least 1", words) == "batch=0, want at least 1"


def test_values_are_shown_as_they_were_typed():
    assert name_flags("lr=-1.0, want a number above 0", ["--lr", "-1"]) == "--lr -1: want a number above 0"
    assert name_flags("lr=0.5, want less than 0.1", ["--lr", "1"]) == "--lr 0.5: want less than 0.1"  # another value
    assert name_flags("experts=(2, 0), want at least 1", ["--experts", "2", "0"]) == "--experts 2 0: want at least 1"
    assert name_flags("device='tpu': no", ["--device=tpu"]) == "--device tpu: no"


def test_a_flag_has_the_values_up_to_the_next_flag():
    words = ["run", "--experts", "2", "-3", "--best", "--core.no-gate", "--json=a b", "x"]
    assert [str(flag) for flag in typed_flags(words)] == ["--experts 2 -3", "--best", "--core.no-gate", "--json 'a b'"]
    assert [flag.name for flag in typed_flags(words)] == ["experts", "best", "core.gate", "json"]
    assert typed_flags(words)[0].removed_from(words) == ["run", "--best", "--core.no-gate", "--json=a b", "x"]


@pytest.mark.parametrize(
    ("flag", "value", "message"),
    [
        ("--outer-steps", "0", "--outer-steps 0: want at least 1"),
        ("--lr", "-1", "--lr -1: want a learning rate above 0"),
        ("--seed", "-1", "--seed -1: want at least 0"),
        ("--experts", "0", "--experts 0: want at least 1"),
        ("--device", "tpu", "--device tpu: want cpu, cuda or auto"),
        ("--learner.gamma", "2", "--learner.gamma 2: want 0 to 1"),
        ("--seeds", "2", "--seeds 2: learner 'a2c' trains one agent at a time"),
    ],
)
def test_a_bad_value_is_named_by_its_flag(flag, value, message, tmp_path, capsys):
    assert main(["train", "t_maze", flag, value, "--folder", str(tmp_path / "run")]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run").exists()
