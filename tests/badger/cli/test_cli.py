"""The command line: badger train | resume | evaluate | bench | list; of studies in test_study.py."""

import inspect
import io
import re
import signal
import sys

import pytest
import torch

import badger
from badger import RECIPES, Run, evaluate, generator, read_metrics
from badger.cli import evaluate as evaluate_command
from badger.cli.main import main
from tiny_runs import STEPS, load_trusted, strict_json

OWN = """
import badger

def small(*, experts: int = 2, steps: int = 2) -> badger.Run:
    return badger.build("guessing_game", experts=experts, dims=1, steps=steps, hidden_size=4, batch=2, outer_steps=3)

def wrong(*, experts: int = 2) -> int:
    return experts
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """What a user who trains an agent is told, and the folder."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    with pytest.MonkeyPatch.context() as patch:
        out, err = io.StringIO(), io.StringIO()
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", err)
        code = main(["train", "tiny_runs:tiny", "--folder", str(folder)])
    return code, out.getvalue(), err.getvalue(), folder


@pytest.fixture(scope="module")
def folder(trained):
    return trained[-1]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A directory with a module of one's own in it, to work in."""
    (tmp_path / "my_recipes.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_recipes", None)


@pytest.fixture
def command(capsys):
    """Runs a command; gives its exit code, standard output and standard error."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # of tyro
            code = stop.code
        return code, *capsys.readouterr()

    return run


def plain(text):
    """Without the boxes that tyro draws, and on one line."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m|[│╭╮╰╯─]", " ", text).split())


def documented(recipe):
    """name -> what the docstring says of it."""
    args = re.sub(r"\n {8,}", " ", inspect.getdoc(recipe).split("Args:\n")[1])  # what goes on in the next line
    return dict(line.strip().split(": ", 1) for line in args.splitlines())


def test_train_ends_with_the_scores_and_what_to_do_next(trained):
    code, out, _, folder = trained
    assert code == 0
    assert re.search(r"30 outer steps in \d+ s of training", out)
    assert re.search(r"final_error +\d\.\d{4} \+- \d\.\d{4} over 1024 episodes \(answer 0 .*finite differences ", out)
    assert f"tensorboard --logdir {folder}" in out
    assert f"badger evaluate {folder}" in out


def test_train_draws_the_learning_curve(trained):
    picture = (trained[-1] / "learning_curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 5000


def test_the_scores_are_those_of_episodes_that_training_never_met(trained):
    _, out, _, folder = trained
    run = load_trusted(folder)
    scores = evaluate(run.learner.agent, run.learner.task, 1024, generator(0, "evaluate"))
    assert f"final_error     {scores['final_error'].mean():.4f}" in out


def test_nothing_is_written_to_a_standard_error_that_is_no_terminal(trained):
    assert trained[2] == ""


def test_on_a_terminal_a_bar_shows_the_score_the_speed_and_the_time_left(own, monkeypatch, command):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    main(["train", "my_recipes:small", "--folder", "run", "--no-tensorboard"])
    assert re.search(r"\r.*3/3 \[\d\d:\d\d<\d\d:\d\d, .*step.*final_error=\d\.\d{4}\]", sys.stderr.getvalue())


def test_a_folder_with_the_recipe_and_the_time_is_made_where_none_is_given(own, command):
    assert command("train", "my_recipes:small", "--no-tensorboard")[0] == 0
    (made,) = (own / "runs").iterdir()
    assert re.fullmatch(r"my_recipes\.small-\d{8}-\d{6}-\d+", made.name)
    assert load_trusted(made).step == 3


def test_a_recipe_of_ones_own_takes_its_flags(own, command):
    assert command("train", "my_recipes:small", "--experts", 3, "--folder", "run", "--no-tensorboard")[0] == 0
    run = load_trusted("run")
    assert run.learner.agent.experts == 3
    assert (run.recipe, run.arguments) == ("my_recipes:small", {"experts": 3, "steps": 2})


def test_a_default_that_has_changed_since_changes_no_run(own, command):
    command("train", "my_recipes:small", "--folder", "run", "--no-tensorboard")
    experts = load_trusted("run").learner.agent.experts
    recipe = sys.modules["my_recipes"].small
    assert recipe.__kwdefaults__["experts"] == experts
    recipe.__kwdefaults__["experts"] = experts + 2
    run = load_trusted("run")
    assert (run.learner.agent.experts, run.configuration["experts"], run.step) == (experts, experts, 3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_tells_every_flag_its_default_and_what_it_means(command, recipe):
    code, out, _ = command("train", recipe, "--help")
    assert code == 0
    shown, meanings = plain(out), documented(RECIPES[recipe])
    parameters = inspect.signature(RECIPES[recipe]).parameters
    assert set(meanings) == set(parameters)
    for name, parameter in parameters.items():
        flag = name.replace("_", "-")
        on_off = isinstance(parameter.default, bool)
        # choices: {one,two}; a range: INT|{INT INT}; many: INT [INT ...]
        given = rf"--{flag}, --no-{flag}" if on_off else rf"--{flag} \S.{{0,130}}?"
        many = isinstance(parameter.default, tuple)
        default = " ".join(map(str, parameter.default)) if many else str(parameter.default)
        wanted = rf"{given} {re.escape(meanings[name])} \(default: {re.escape(default)}\)"
        assert re.search(wanted, shown), wanted
    assert "--folder" in shown and "runs/RECIPE-DATE-TIME-PROCESS" in shown and "--no-tensorboard" in shown


@pytest.mark.parametrize("words", [["resume", "--help"], ["evaluate", "--help"]])
def test_the_other_commands_have_help(command, words):
    code, out, _ = command(*words)
    assert code == 0 and "its folder" in plain(out)


def test_help_for_evaluate_tells_every_flag(command):
    shown = plain(command("evaluate", "--help")[1])
    for flag, meaning in {
        "--experts": "how many; as trained if not given", "--dims": "outputs of the task", "--steps": "inner steps",
        "--episodes": "how many are played; 1024 if not given", "--lesion": "such as 0,2", "--seed": "of the episodes",
        "--through": "pettingzoo or gymnasium",
        "--member": "which agent of a population", "--best": "best averaged return", "--json": "file for the result",
    }.items():  # fmt: skip
        assert flag in shown and meaning in shown


@pytest.mark.parametrize("words, code", [([], 2), (["--help"], 0), (["-h"], 0), (["train"], 2), (["train", "-h"], 0)])
def test_usage_lists_commands_or_recipes_and_is_an_error_unless_asked_for(command, words, code):
    got, out, err = command(*words)
    assert got == code
    text, silent = (err, out) if code else (out, err)
    assert "usage: badger" in text and "guessing_game" in text and silent == ""


def test_list_names_everything_that_can_be_chosen(command):
    code, out, _ = command("list")
    names = [
        *RECIPES, *badger.CORES, *badger.BUSES, *badger.TOPOLOGIES, *badger.ACTS, *badger.TASKS, *badger.LEARNERS
    ]  # fmt: skip
    assert code == 0 and all(re.search(rf"\b{name}\b", out) for name in names)


def test_list_takes_nothing(command):
    assert command("list", "all")[0] == 2


def test_an_unknown_command_is_met_with_the_known_ones(command):
    code, _, err = command("trian")
    known = "train, resume, evaluate, study, compare, bench, list"
    assert code == 2
    assert f"unknown command 'trian', want one of: {known}. Did you mean 'train'?" in err


def test_an_unknown_flag_is_met_with_the_nearest(command):
    code, _, err = command("train", "guessing_game", "--expert", 3)
    assert code == 2 and "Unrecognized options: --expert" in plain(err) and "--experts INT" in plain(err)


def test_a_flag_of_the_wrong_kind_is_refused(command):
    code, _, err = command("train", "guessing_game", "--experts", "many")
    assert code == 2 and "--experts" in plain(err)


def test_a_choice_that_there_is_not_is_met_with_those_that_there_are(command):
    code, _, err = command("train", "guessing_game", "--core", "episodik")
    assert code == 2 and all(f"'{name}'" in plain(err) for name in ("none", "private", "shared"))


@pytest.mark.parametrize(
    "recipe, message",
    [
        ("no_such_module:small", r"No module named 'no_such_module'; run badger where `import no_such_module` works"),
        ("my_recipes:smal", r"module my_recipes has no recipe smal; did you mean 'small'\?"),
        ("my_recipes:quite_another", r"module my_recipes has no recipe quite_another; it has small, wrong"),
        ("my_recipes:wrong", r"returned int, want a badger\.Run"),
    ],
)
def test_a_recipe_of_ones_own_that_does_not_work_is_explained(own, command, recipe, message):
    code, _, err = command("train", recipe)
    assert code == 1 and re.search(message, err)
    assert not (own / "runs").exists()


def test_resume_goes_on_to_the_goal(tmp_path, command):
    run = badger.build_run("tiny_runs:tiny", outer_steps=6)
    run.folder = tmp_path / "run"
    badger.train(run, 4, tensorboard=False)
    code, out, _ = command("resume", run.folder, "--trust-code", "--no-tensorboard")
    assert code == 0 and "6 outer steps" in out
    assert [row["step"] for row in read_metrics(run.folder)] == [1, 2, 3, 4, 5, 6]


def test_resuming_a_finished_run_only_prints_its_summary(trained, command):
    _, told, _, folder = trained
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.suffix != ".png" and file.is_file()}
    code, out, err = command("resume", folder, "--trust-code")
    assert (code, err) == (0, "")
    assert out == told
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("command_", ["resume", "evaluate"])
def test_a_folder_without_a_run_is_named(tmp_path, command, command_):
    code, _, err = command(command_, tmp_path / "nothing")
    assert code == 1 and f"{tmp_path}/nothing holds no run" in err


def test_a_run_built_by_hand_cannot_be_resumed_from_here(tmp_path, command):
    run = Run(badger.build_run("tiny_runs:tiny").learner, outer_steps=1, folder=tmp_path / "run")
    run.save()
    code, _, err = command("resume", run.folder, "--trust-code")
    assert code == 1 and "badger.load_run(" in err and "build=" in err


@pytest.mark.parametrize("words", [["resume"], ["evaluate"], ["evaluate", "--grid"], ["compare"]])
def test_code_that_a_run_names_is_imported_only_where_it_is_trusted(folder, command, words):
    code, out, err = command(*words, folder)
    assert (code, out) == (1, "") and "'tiny_runs:tiny'" in err and "add --trust-code to the command" in err


def test_errors_are_one_line_unless_they_are_looked_into(monkeypatch, command):
    assert command("train", "guessing_gam")[2].count("\n") == 2
    monkeypatch.setenv("BADGER_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown recipe"):
        main(["train", "guessing_gam"])


def test_ctrl_c_outside_of_training_ends_quietly(monkeypatch, folder, command):
    monkeypatch.setattr(evaluate_command, "evaluate", lambda *a, **k: signal.raise_signal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs behind
    try:
        code, _, err = command("evaluate", folder, "--trust-code")
    finally:
        signal.signal(signal.SIGINT, before)
    assert (code, err) == (130, "\nbadger: stopped\n")


def result(command, folder, tmp_path, *words):
    code, out, err = command("evaluate", folder, "--trust-code", "--json", tmp_path / "result.json", *words)
    assert (code, err) == (0, "")
    return strict_json((tmp_path / "result.json").read_text()), out


def test_evaluate_writes_what_it_prints_as_json(folder, tmp_path, command):
    told, out = result(command, folder, tmp_path, "--episodes", 50, "--seed", 3)
    run = load_trusted(folder)
    scores = evaluate(run.learner.agent, run.learner.task, 50, generator(3, "evaluate"))
    assert told == {
        "run": str(folder), "outer_step": STEPS, "experts": 2, "lesion": [], "member": 0, "episodes": 50, "seed": 3,
        "through": None, "task": {"steps": 3, "dims": 2, "dtype": "torch.float32"},
        "references": run.learner.task.references(), "notes": [],
        "scores": {
            name: {"mean": value.double().mean().item(), "error": value.double().std().item() / 50**0.5}
            for name, value in scores.items()
        },
    }  # fmt: skip
    assert f"after {STEPS} outer steps, with 2 experts" in out
    assert f"final_error     {told['scores']['final_error']['mean']:.4f} +- " in out


def test_evaluate_takes_other_sizes(folder, tmp_path, command):
    told, out = result(command, folder, tmp_path, "--experts", 6, "--dims", 3, "--steps", 5, "--episodes", 4)
    assert (told["experts"], told["task"]["dims"], told["task"]["steps"]) == (6, 3, 5)
    assert "with 6 experts" in out


def test_evaluate_lesions_experts(folder, tmp_path, command):
    whole, _ = result(command, folder, tmp_path, "--experts", 4)
    told, out = result(command, folder, tmp_path, "--experts", 4, "--lesion", "1,3")
    assert told["lesion"] == [1, 3] and "less [1, 3]" in out
    assert told["scores"]["final_error"]["mean"] == pytest.approx(1, abs=0.1)  # nobody answers one of two dimensions
    assert told["scores"] != whole["scores"]


def test_evaluate_of_the_same_seed_gives_the_same_episodes(folder, tmp_path, command):
    one, two, other = (result(command, folder, tmp_path, "--seed", seed)[0] for seed in (1, 1, 2))
    assert one == two and one["scores"] != other["scores"]


def test_evaluate_plays_the_best_checkpoint_where_it_is_asked_for(folder, tmp_path, command):
    best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["learner"]["step"]
    assert result(command, folder, tmp_path, "--best", "--episodes", 2)[0]["outer_step"] == best


def test_a_single_episode_has_no_standard_error_and_json_stays_strict(folder, tmp_path, command):
    told, _ = result(command, folder, tmp_path, "--episodes", 1)
    assert told["scores"]["final_error"]["error"] is None


@pytest.mark.parametrize(
    "words, message",
    [
        (["--lesion", "0,two"], "--lesion wants experts such as 0,2, got 'two'"),
        (["--lesion", "2"], "expert 2 does not exist, want 0 to 1"),
        (["--experts", "3"], "experts=3, want a multiple of outputs=2"),
        (["--experts", "0"], "experts=0, want at least 1"),
        (["--episodes", "0"], "episodes=0, want at least 1"),
        (["--steps", "0"], "steps=0, want at least 1"),
        (["--json", "/no/such/folder/result.json", "--episodes", "1"], "No such file or directory"),
    ],
)
def test_evaluate_explains_what_is_wrong(folder, command, words, message):
    code, _, err = command("evaluate", folder, "--trust-code", *words)
    assert code == 1 and message in err


def test_a_size_that_the_task_does_not_have_is_met_with_those_that_it_has(tmp_path, command):
    run = badger.build_run("repeat_previous", experts=2, hidden_size=4, outer_steps=1, device="cpu")
    run.folder = tmp_path / "run"
    run.save()
    code, _, err = command("evaluate", run.folder, "--trust-code", "--dims", 3)
    assert code == 1 and "RepeatPrevious has no dims to change; it has steps, " in err


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    run = badger.build_run("tiny_runs:tiny", outer_steps=6, seed=4, seeds=3)
    run.folder = tmp_path_factory.mktemp("population") / "run"
    badger.train(run, tensorboard=False)
    return run


def test_train_ends_with_the_scores_of_each_member(population, command, monkeypatch):
    monkeypatch.setattr(evaluate_command, "EPISODES", 32)
    code, out, _ = command("resume", population.folder, "--trust-code")
    assert code == 0
    for member in population.learner.members:
        scores = evaluate(member.agent, member.task, 32, generator(member.seed, "evaluate"))
        assert re.search(rf"seed {member.seed}\n(.*\n)?final_error +{scores['final_error'].mean():.4f}", out)


def test_train_ends_with_the_number_of_steps_that_a_member_did_not_make(tmp_path, command):
    run = badger.build_run("tiny_runs:tiny", outer_steps=4, seed=4, seeds=2)
    run.folder = tmp_path / "run"
    with torch.no_grad():
        next(run.learner.members[1].agent.act.parameters()).fill_(1e30)
    badger.train(run, tensorboard=False)
    assert "seed 5, not finite in 4 outer steps\n" in command("resume", run.folder, "--trust-code")[1]


def test_evaluate_plays_one_member_of_a_population(population, tmp_path, command):
    told, out = result(command, population.folder, tmp_path, "--member", 2, "--episodes", 8)
    learner = load_trusted(population.folder).learner.members[2]
    scores = evaluate(learner.agent, learner.task, 8, generator(0, "evaluate"))
    assert told["member"] == 2 and told["scores"]["error"]["mean"] == pytest.approx(scores["error"].mean().item())
    assert "member 2 of 3, seed 6" in out


@pytest.mark.parametrize("member", [-1, 3])
def test_a_member_that_there_is_not_is_met_with_those_that_there_are(population, command, member):
    code, _, err = command("evaluate", population.folder, "--trust-code", f"--member={member}")
    assert code == 1 and f"--member {member}: the run has 3 of them, want 0 to 2" in err
