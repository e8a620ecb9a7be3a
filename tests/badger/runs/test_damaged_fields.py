"""Fields of the files of a run that have another type than they should: an error names file and field."""

import copy
import json
import shutil

import pytest
import torch

from badger import build_run, load_run, read_metrics
from badger.errors import DamagedFile
from badger.runs import checkpoint
from badger.runs.evaluations import read_evaluation, write_evaluation
from badger.runs.run import read_description
from badger.study import Arm, Study
from badger.study.compare import compare_runs
from badger.study.run import run_study
from badger.study.trial import Trial, read_result, run_trial

WRONG = [None, 3, 1.5, 10**400, "text", [1], [], {"a": 1}, {}, True]
SIZES = {"experts": 2, "dims": 2, "steps": 3, "batch": 4, "outer_steps": 2, "device": "cpu", "core.hidden_size": 6}
ARMS = {"a": Arm("guessing_game", SIZES)}
STUDY = Study(name="small", claim="", arms=ARMS, score="final_error", threshold=1, seeds=1, episodes=4)
TRIAL = "a/seed-0"

OPTIONAL_TEXT, ANY_OBJECT = (None, "text"), ({}, {"a": 1})
RUN_JSON = {  # by field: the values of WRONG that have its type
    "recipe": OPTIONAL_TEXT,
    "arguments": ANY_OBJECT,
    "defaults": ANY_OBJECT,
    "resolved": ANY_OBJECT,
    "outer_steps": (3, 10**400),
    "extended_to": (None, 3, 10**400),
    "seeds": ([1], []),
    "task": ANY_OBJECT,
    "task.score": ("text",),
    "task.better": (),
    "task.references": ({},),
    "task.notes": ([],),
    "versions": ({},),
    "git_commit": OPTIONAL_TEXT,
    "arguments.experts": (3, 10**400),
    "arguments.batch": (3, 10**400),
    "arguments.device": ("text",),
    "arguments.core.hidden_size": (3, 10**400),
    "defaults.core": ("text",),
    "defaults.lr": (None, 3, 1.5),
    "defaults.auxiliary_weights": (None, {}, {"a": 1}),
    "defaults.cuda_graph": (True,),
}
CHECKPOINT = {
    "recipe": OPTIONAL_TEXT,
    "arguments": ("text",),
    "averages": ANY_OBJECT,
    "returns": ([],),
    "best": (None,),
    "seconds": (3, 1.5),
    "start_step": (3, 10**400),
    "platform": ANY_OBJECT,
    "learner": ANY_OBJECT,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A finished study of one run, which has been evaluated. Not to be written to."""
    root = tmp_path_factory.mktemp("study")
    (root / "study.json").write_text(json.dumps(STUDY.definition()))
    run_trial(Trial(STUDY, "a", 0, root, tensorboard=False))  # in this process
    run_study_in(root)
    scores = {"final_error": {"mean": 1.0, "sem": 0.1}}
    write_evaluation(root / TRIAL, 2, 0, scores)
    return root


def run_study_in(root):
    return run_study(STUDY, root, tensorboard=False, quiet=True)


@pytest.fixture
def mine(study, tmp_path):
    """A copy of its folder."""
    return shutil.copytree(study, tmp_path / "study")


def replaced(content, field, value):
    """A copy of a file's content with another value of a field, `name` or `object.name`."""
    content = copy.deepcopy(content)
    name, _, inner = field.partition(".")
    if inner:
        content[name][inner] = value
    else:
        content[name] = value
    return content


def has_type(value, values):
    return any(value == one and type(value) is type(one) for one in values)


def wrong_values(values):
    return [value for value in WRONG if not has_type(value, values)]


@pytest.mark.parametrize("field", RUN_JSON)
def test_a_field_of_run_json_of_another_type_is_named(mine, field):
    file = mine / TRIAL / "run.json"
    about = json.loads(file.read_text())
    for value in wrong_values(RUN_JSON[field]):
        file.write_text(json.dumps(replaced(about, field, value)))
        with pytest.raises(DamagedFile, match=rf"run\.json is damaged: .*{field}") as error:
            load_run(mine / TRIAL)
        assert error.value.file == file and error.value.place.startswith(field)


@pytest.mark.parametrize("field", RUN_JSON)
def test_a_field_of_run_json_of_the_right_type_and_any_value_is_a_value_error_at_most(mine, field):
    file = mine / TRIAL / "run.json"
    about = json.loads(file.read_text())
    for value in RUN_JSON[field]:
        file.write_text(json.dumps(replaced(about, field, value)))
        for read in (load_run, lambda folder: compare_runs([folder])):
            try:
                read(mine / TRIAL)
            except ValueError as error:
                assert str(file.parent) in str(error)


@pytest.mark.parametrize("field", ["recipe", "arguments"])
def test_a_field_that_run_json_lacks_is_named(mine, field):
    file = mine / TRIAL / "run.json"
    about = json.loads(file.read_text())
    del about[field]
    file.write_text(json.dumps(about))
    with pytest.raises(DamagedFile, match=f"it has no field {field}"):
        read_description(mine / TRIAL)


@pytest.mark.parametrize("field", ["seeds", "task.score", "task.better", "task.references", "task.notes"])
def test_compare_names_a_field_that_run_json_lacks(mine, field):
    file = mine / TRIAL / "run.json"
    about = json.loads(file.read_text())
    name, _, inner = field.partition(".")
    del (about[name] if inner else about)[inner or name]
    file.write_text(json.dumps(about))
    with pytest.raises(DamagedFile, match=f"{field}|seeds") as error:
        compare_runs([mine / TRIAL])
    assert error.value.place == field


def only_checkpoint(folder):
    """The step and content of the last checkpoint, which becomes the only one."""
    files = folder / "checkpoints"
    content = torch.load(checkpoint.path(files, 2), weights_only=True)
    for file in files.iterdir():
        file.unlink()
    return content


@pytest.mark.parametrize("field", CHECKPOINT)
def test_a_field_of_a_checkpoint_of_another_type_is_named(mine, field):
    content, files = only_checkpoint(mine / TRIAL), mine / TRIAL / "checkpoints"
    for value in wrong_values(CHECKPOINT[field]):
        file = checkpoint.write(files, 2, {**content, field: value}, keep=1, best=False)
        with pytest.raises(DamagedFile, match=field) as error:
            checkpoint.read(file)
        assert error.value.file == file and error.value.place.startswith(field)


@pytest.mark.parametrize("field", CHECKPOINT)
def test_a_checkpoint_with_any_field_is_loaded_or_named(mine, field):
    content, files = only_checkpoint(mine / TRIAL), mine / TRIAL / "checkpoints"
    for value in WRONG:
        file = checkpoint.write(files, 2, {**content, field: value}, keep=1, best=False)
        try:
            load_run(mine / TRIAL)
        except DamagedFile as error:
            assert file.name in str(error)


@pytest.mark.parametrize("field", [field for field in CHECKPOINT if field != "returns"])  # 0.2 did not save it
def test_a_field_that_a_checkpoint_lacks_is_named(mine, field):
    content, files = only_checkpoint(mine / TRIAL), mine / TRIAL / "checkpoints"
    del content[field]
    with pytest.raises(DamagedFile, match=f"it has no field {field}"):
        checkpoint.read(checkpoint.write(files, 2, content, keep=1, best=False))


@pytest.mark.parametrize("field", ["agent", "optimizer", "step"])
@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:8])
def test_the_state_of_a_learner_of_another_type_is_damaged(mine, field, value):
    content, files = only_checkpoint(mine / TRIAL), mine / TRIAL / "checkpoints"
    file = checkpoint.write(files, 2, replaced(content, f"learner.{field}", value), keep=1, best=False)
    if field == "step" and has_type(value, (3, 10**400)):
        return
    with pytest.raises(DamagedFile, match=r"step_00000002\.pt.*learner") as error:
        load_run(mine / TRIAL)
    assert error.value.file == file


@pytest.mark.parametrize(
    ("name", "read", "fields"),
    [
        ("evaluation.json", read_evaluation, {"step": (3, 10**400), "scores": ({},)}),
        (
            "result.json",
            read_result,
            {
                "recipe": ("text",), "arguments": ANY_OBJECT, "episodes": (None, 3, 10**400), "evaluations": ({},),
                "milestones": ([1],), "better": (), "references": ({},), "notes": ([],), "scores": ({},),
            },
        ),
    ],
)  # fmt: skip
def test_a_field_of_evaluation_json_and_result_json_of_another_type_is_named(mine, name, read, fields):
    file = mine / TRIAL / name
    content = json.loads(file.read_text())
    for field, values in fields.items():
        for value in wrong_values(values):
            file.write_text(json.dumps(replaced(content, field, value)))
            with pytest.raises(DamagedFile, match=field) as error:
                read(mine / TRIAL)
            assert (error.value.file, error.value.place.split(".")[0]) == (file, field)


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:8])
def test_a_line_of_metrics_that_is_no_object_of_numbers_is_named(mine, value):
    file = mine / TRIAL / "metrics.jsonl"
    lines = file.read_text().splitlines()
    wrong = [value] if not isinstance(value, dict) else [{"step": 1, **value, "loss": "low"}]
    wrong += [{"loss": value}] + ([{"step": value}] if not has_type(value, (3, 10**400)) else [])
    for row in wrong:
        file.write_text("\n".join([lines[0], json.dumps(row), ""]))
        with pytest.warns(UserWarning, match=r"metrics\.jsonl is damaged.* line 2: "):
            assert len(read_metrics(mine / TRIAL)) == 1


@pytest.mark.parametrize("value", WRONG, ids=lambda value: repr(value)[:8])
def test_study_json_of_another_type_is_damaged(mine, value):
    file = mine / "study.json"
    content = json.loads(file.read_text())
    fields = [
        field for field in content if content[field] != value and (field, value) != ("arms", {})
    ]  # it may lack arms
    for wrong in [value, *(replaced(content, field, value) for field in fields)]:
        file.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=r"study\.json is damaged|holds study") as error:
            run_study_in(mine)
        assert isinstance(error.value, DamagedFile) or isinstance(wrong, dict)


def test_the_files_of_the_finished_study_are_valid(study):
    assert load_run(study / TRIAL).step == 2 and build_run("guessing_game", **SIZES).step == 0
    assert compare_runs([study / TRIAL]).outcomes and not run_study_in(study).missing
