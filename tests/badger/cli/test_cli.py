"""The command line: badger train | resume | evaluate | list; see also test_study and test_bench."""

import inspect
import io
import re
import shlex
import signal
import sys

import pytest
import torch

import badger
from badger import RECIPES, Run, evaluate, generator, read_metrics
from badger.cli import evaluate as evaluate_command
from badger.cli.main import main
from badger.evaluation import default_size
from tiny_runs import STEPS, load_trusted, strict_json

USER_MODULE = """
import badger

def small(*, experts: int = 2, steps: int = 2) -> badger.Run:
    sizes = {"experts": experts, "dims": 1, "steps": steps, "core.hidden_size": 4, "batch": 2}
    return badger.build_run("guessing_game", **sizes, outer_steps=3)

def wrong(*, experts: int = 2) -> int:
    return experts
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Exit code, standard output, standard error and folder of a training."""
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
def user_module(tmp_path, monkeypatch):
    """A working directory with a module of the user."""
    (tmp_path / "my_recipes.py").write_text(USER_MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("my_recipes", None)


@pytest.fixture
def command(capsys):
    """Runs a command; returns exit code, standard output and standard error."""

    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # of tyro
            code = stop.code
        return code, *capsys.readouterr()

    return run


def plain(text):
    """The text on one line, without tyro's boxes."""
    return " ".join(re.sub(r"\x1b\[[\d;]*m|[│╭╮╰╯─]", " ", text).split())


def documented(recipe):
    """Descriptions of arguments in the docstring, by name."""
    args = re.sub(r"\n {8,}", " ", inspect.getdoc(recipe).split("Args:\n")[1])  # joins continuation lines
    return dict(line.strip().split(": ", 1) for line in args.splitlines())


def test_train_prints_scores_and_further_commands(trained):
    code, out, _, folder = trained
    assert code == 0
    assert re.search(r"30 outer steps in \d+ s of training", out)
    assert re.search(
        r"final_error +\d\.\d{4} \+- \d\.\d{4} over 60 episodes, deterministic \(answer 0 .*finite differences ", out
    )
    assert f"tensorboard --logdir {folder}" in out
    assert f"badger evaluate {folder}" in out


def test_train_draws_the_learning_curve(trained):
    image = (trained[-1] / "learning_curve.png").read_bytes()
    assert image.startswith(b"\x89PNG") and len(image) > 5000


def test_printed_scores_are_those_of_held_out_episodes(trained):
    _, out, _, folder = trained
    run = load_trusted(folder)
    scores = evaluate(run.learner.agent, run.learner.task, 60, generator(0, "evaluate"))
    assert f"final_error     {scores['final_error'].mean():.4f}" in out


def test_there_is_no_progress_bar_without_a_terminal(trained):
    assert trained[2] == ""


def test_a_progress_bar_on_a_terminal_shows_score_speed_and_remaining_time(user_module, monkeypatch, command):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TQDM_MININTERVAL", "0")
    main(["train", "my_recipes:small", "--folder", "run", "--no-tensorboard"])
    assert re.search(r"\r.*3/3 \[\d\d:\d\d<\d\d:\d\d, .*step.*final_error=\d\.\d{4}\]", sys.stderr.getvalue())


def test_the_default_folder_has_the_recipe_and_the_time_in_its_name(user_module, command):
    assert command("train", "my_recipes:small", "--no-tensorboard")[0] == 0
    (folder,) = (user_module / "runs").iterdir()
    assert re.fullmatch(r"my_recipes\.small-\d{8}-\d{6}-\d+", folder.name)
    assert load_trusted(folder).step == 3


def test_a_users_recipe_has_its_flags(user_module, command):
    assert command("train", "my_recipes:small", "--experts", 3, "--folder", "run", "--no-tensorboard")[0] == 0
    run = load_trusted("run")
    assert run.learner.agent.experts == 3
    assert (run.recipe, run.arguments) == ("my_recipes:small", {"experts": 3, "steps": 2})


def test_a_changed_default_does_not_change_an_existing_run(user_module, command):
    command("train", "my_recipes:small", "--folder", "run", "--no-tensorboard")
    experts = load_trusted("run").learner.agent.experts
    recipe = sys.modules["my_recipes"].small
    assert recipe.__kwdefaults__["experts"] == experts
    recipe.__kwdefaults__["experts"] = experts + 2
    run = load_trusted("run")
    assert (run.learner.agent.experts, run.configuration["experts"], run.step) == (experts, experts, 3)


@pytest.mark.parametrize("recipe", RECIPES)
def test_help_shows_every_flag_with_default_and_description(command, recipe):
    code, out, _ = command("train", recipe, "--help")
    assert code == 0
    shown, descriptions = plain(out), documented(RECIPES[recipe])
    parameters = inspect.signature(RECIPES[recipe]).parameters
    assert set(descriptions) == set(parameters)
    for name, parameter in parameters.items():
        flag = name.replace("_", "-")
        on_off = isinstance(parameter.default, bool)
        # choices: {one,two}; a range: INT|{INT INT}; many: INT [INT ...]
        usage = rf"--{flag}, --no-{flag}" if on_off else rf"--{flag} \S.{{0,130}}?"
        is_sequence = isinstance(parameter.default, tuple)
        default = " ".join(map(str, parameter.default)) if is_sequence else str(parameter.default)
        expected = rf"{usage} {re.escape(descriptions[name])} \(default: {re.escape(default)}\)"
        assert re.search(expected, shown), expected
    assert "--folder" in shown and "runs/RECIPE-DATE-TIME-PROCESS" in shown and "--no-tensorboard" in shown


@pytest.mark.parametrize("words", [["resume", "--help"], ["evaluate", "--help"]])
def test_the_other_commands_have_help(command, words):
    code, out, _ = command(*words)
    assert code == 0 and "folder" in plain(out)


def test_help_of_evaluate_shows_every_flag(command):
    shown = plain(command("evaluate", "--help")[1])
    for flag, description in {
        "--experts": "number of experts; default: as in training", "--dims": "outputs of the task",
        "--steps": "inner steps", "--episodes": "a tenth of the trained environment steps",
        "--sampled": "sample the actions", "--deterministic": "take the most likely actions",
        "--lesion": "such as 0,2", "--seed": "of the episodes", "--env-api": "pettingzoo or gymnasium",
        "--member": "agent in a population", "--best": "best figure of training or evaluation",
        "--json": "file for the result",
    }.items():  # fmt: skip
        assert flag in shown and description in shown


@pytest.mark.parametrize("words, code", [([], 2), (["--help"], 0), (["-h"], 0), (["train"], 2), (["train", "-h"], 0)])
def test_usage_lists_commands_or_recipes_and_is_an_error_unless_asked_for(command, words, code):
    exit_code, out, err = command(*words)
    assert exit_code == code
    text, silent = (err, out) if code else (out, err)
    assert "usage: badger" in text and "guessing_game" in text and silent == ""


def test_list_names_everything_that_can_be_chosen(command):
    code, out, _ = command("list")
    names = [
        *RECIPES, *badger.CORES, *badger.BUSES, *badger.TOPOLOGIES, *badger.ACTS, *badger.TASKS, *badger.LEARNERS
    ]  # fmt: skip
    assert code == 0 and all(re.search(rf"\b{name}\b", out) for name in names)


def test_list_has_no_arguments(command):
    assert command("list", "all")[0] == 2


def test_an_unknown_command_is_refused_with_the_valid_ones(command):
    code, _, err = command("trian")
    commands = "train, resume, evaluate, record, inspect, study, compare, bench, solve, list"
    assert code == 2
    assert f"unknown command 'trian', want one of: {commands}. Did you mean 'train'?" in err


def test_an_unknown_flag_is_refused_with_the_nearest_ones(command):
    code, _, err = command("train", "guessing_game", "--expert", 3)
    assert (code, err) == (
        2, "badger: --expert 3: badger train guessing_game has no flag --expert; did you mean 'experts'?\n"
    )  # fmt: skip


def test_a_flag_of_the_wrong_kind_is_refused(command):
    code, _, err = command("train", "guessing_game", "--experts", "many")
    assert (code, err) == (2, "badger: --experts many: want a whole number, or 2 values, each a whole number\n")


def test_an_unknown_choice_is_refused_with_the_valid_ones(command):
    code, _, err = command("train", "guessing_game", "--core", "episodik")
    assert (
        code == 2
        and "--core episodik: unknown core 'episodik', want one of: gru, lstm" in err
        and "Did you mean 'episodic'?" in err
    )


@pytest.mark.parametrize(
    "recipe, message",
    [
        ("no_such_module:small", r"No module named 'no_such_module'; run badger where `import no_such_module` works"),
        ("my_recipes:smal", r"module my_recipes has no recipe smal; did you mean 'small'\?"),
        ("my_recipes:quite_another", r"module my_recipes has no recipe quite_another; it has small, wrong"),
        ("my_recipes:wrong", r"returned int, want a badger\.Run"),
    ],
)
def test_an_invalid_recipe_of_the_user_is_refused(user_module, command, recipe, message):
    code, _, err = command("train", recipe)
    assert code == 2 and re.search(message, err)
    assert not (user_module / "runs").exists()


def test_resume_trains_up_to_the_number_of_outer_steps(tmp_path, command):
    run = badger.build_run("tiny_runs:tiny", outer_steps=6)
    run.folder = tmp_path / "run"
    badger.train(run, 4, tensorboard=False)
    code, out, _ = command("resume", run.folder, "--trust-code", "--no-tensorboard")
    assert code == 0 and "6 outer steps" in out
    assert [row["step"] for row in read_metrics(run.folder)] == [1, 2, 3, 4, 5, 6]


def test_resuming_a_finished_run_only_prints_its_summary(trained, command):
    _, summary, _, folder = trained
    before = {
        file: file.stat().st_mtime_ns
        for file in folder.rglob("*")
        if file.suffix not in (".png", ".json") and file.is_file()
    }
    code, out, err = command("resume", folder, "--trust-code")
    assert (code, err) == (0, "")
    assert out == summary
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("command_", ["resume", "evaluate"])
def test_a_folder_without_a_run_is_named(tmp_path, command, command_):
    code, _, err = command(command_, tmp_path / "nothing")
    assert code == 2 and f"{tmp_path}/nothing holds no run" in err


def test_a_hand_built_run_needs_build(tmp_path, command):
    run = Run(badger.build_run("tiny_runs:tiny").learner, outer_steps=1, folder=tmp_path / "run")
    run.save()
    code, _, err = command("resume", run.folder, "--trust-code")
    assert code == 2 and "give --build module:function" in err


@pytest.mark.parametrize("words", [["resume"], ["evaluate"], ["evaluate", "--grid"]])
def test_code_named_by_a_run_is_imported_only_with_trust_code(folder, command, words):
    code, out, err = command(*words, folder)
    assert (code, out) == (1, "") and "'tiny_runs:tiny'" in err and "add --trust-code to the command" in err


def test_errors_are_one_line_without_badger_debug(monkeypatch, command):
    assert command("train", "guessing_gam")[2].count("\n") == 1
    monkeypatch.setenv("BADGER_DEBUG", "1")
    with pytest.raises(ValueError, match="unknown recipe"):
        main(["train", "guessing_gam"])


def test_ctrl_c_outside_of_training_ends_quietly(monkeypatch, folder, command):
    monkeypatch.setattr(evaluate_command, "evaluate", lambda *a, **k: signal.raise_signal(signal.SIGINT))
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs of a shell
    try:
        code, _, err = command("evaluate", folder, "--trust-code")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert (code, err) == (130, "\nbadger: stopped\n")


def result(command, folder, tmp_path, *words):
    code, out, err = command("evaluate", folder, "--trust-code", "--json", tmp_path / "result.json", *words)
    assert (code, err) == (0, "")
    return strict_json((tmp_path / "result.json").read_text()), out


def test_evaluate_writes_what_it_prints_as_json(folder, tmp_path, command):
    values, out = result(command, folder, tmp_path, "--episodes", 50, "--seed", 3)
    run = load_trusted(folder)
    scores = evaluate(run.learner.agent, run.learner.task, 50, generator(3, "evaluate"))
    assert values == {
        "run": str(folder), "outer_step": STEPS, "experts": 2, "lesion": [], "member": 0, "episodes": 50, "seed": 3,
        "env_api": None, "policy": "deterministic",
        "task": {"steps": 3, "dims": 2, "antithetic": False, "dtype": "torch.float32"},
        "truncated_after": None, "references": run.learner.task.references(), "notes": [],
        "scores": {
            name: {"mean": value.double().mean().item(), "sem": value.double().std().item() / 50**0.5}
            for name, value in scores.items()
        },
    }  # fmt: skip
    assert f"after {STEPS} outer steps, with 2 experts" in out
    assert f"final_error     {values['scores']['final_error']['mean']:.4f} +- " in out


def test_evaluate_takes_other_sizes(folder, tmp_path, command):
    values, out = result(command, folder, tmp_path, "--experts", 6, "--dims", 3, "--steps", 5, "--episodes", 4)
    assert (values["experts"], values["task"]["dims"], values["task"]["steps"]) == (6, 3, 5)
    assert "with 6 experts" in out


def test_evaluate_lesions_experts(folder, tmp_path, command):
    whole, _ = result(command, folder, tmp_path, "--experts", 4)
    values, out = result(command, folder, tmp_path, "--experts", 4, "--lesion", "1,3")
    assert values["lesion"] == [1, 3] and "without [1, 3]" in out
    assert values["scores"]["final_error"]["mean"] == pytest.approx(1, abs=0.1)  # one of two dimensions has no owner
    assert values["scores"] != whole["scores"]


def test_the_same_seed_gives_the_same_episodes(folder, tmp_path, command):
    first, second, other = (result(command, folder, tmp_path, "--seed", seed)[0] for seed in (1, 1, 2))
    assert first == second and first["scores"] != other["scores"]


def test_evaluate_uses_the_best_checkpoint_with_best(folder, tmp_path, command):
    best = torch.load(folder / "checkpoints" / "best.pt", weights_only=True)["learner"]["step"]
    assert result(command, folder, tmp_path, "--best", "--episodes", 2)[0]["outer_step"] == best


def test_a_single_episode_has_no_standard_error_and_json_stays_strict(folder, tmp_path, command):
    values, _ = result(command, folder, tmp_path, "--episodes", 1)
    assert values["scores"]["final_error"]["sem"] is None


@pytest.mark.parametrize(
    "words, message",
    [
        (["--lesion", "0,two"], "--lesion 0,two: want indices of experts from 0 to 1, such as 0,2"),
        (["--lesion", "2"], "--lesion 2: want indices of experts from 0 to 1"),
        (["--experts", "3"], "--experts 3: want a multiple of outputs=2"),
        (["--experts", "0"], "--experts 0: want at least 1"),
        (["--episodes", "0"], "--episodes 0: want at least 1"),
        (["--steps", "0"], "--steps 0: want at least 1"),
        (
            ["--json", "/no/such/folder/result.json", "--episodes", "1"],
            "want a file in a folder that exists, there is no /no/such/folder",
        ),
    ],
)
def test_evaluate_refuses_invalid_flags(folder, command, words, message):
    code, _, err = command("evaluate", folder, "--trust-code", *words)
    assert code == 2 and message in err


def test_a_size_unknown_to_the_task_is_refused_with_the_valid_ones(tmp_path, command):
    run = badger.build_run("repeat_previous", experts=2, **{"core.hidden_size": 4}, outer_steps=1, device="cpu")
    run.folder = tmp_path / "run"
    run.save()
    code, _, err = command("evaluate", run.folder, "--trust-code", "--dims", 3)
    assert code == 2 and "--dims 3: RepeatPrevious has no dims to change; it has steps, " in err


def test_train_prints_both_figures_of_a_stochastic_policy_and_evaluate_either(tmp_path, command):
    words = ["--outer-steps", 2, "--batch", 4, "--folder", tmp_path / "run", "--no-tensorboard"]
    code, out, _ = command("train", "cartpole", *words)
    figures = re.findall(r"episodic_return (.*) over 10 episodes, (\w+) ", out)
    assert code == 0 and [policy for _, policy in figures] == ["deterministic", "sampled"]
    for figure, policy in figures:
        code, out, _ = command("evaluate", tmp_path / "run", f"--{policy}")
        assert code == 0 and f"episodic_return {figure} over 10 episodes, {policy}" in out


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    run = badger.build_run("tiny_runs:tiny", outer_steps=6, seed=4, seeds=3)
    run.folder = tmp_path_factory.mktemp("population") / "run"
    badger.train(run, tensorboard=False)
    return run


def test_train_prints_the_scores_of_each_member(population, command):
    code, out, _ = command("resume", population.folder, "--trust-code")
    assert code == 0
    for member in population.learner.members:
        scores = evaluate(member.agent, member.task, 12, generator(member.seed, "evaluate"))
        assert re.search(rf"seed {member.seed}\n(.*\n)?final_error +{scores['final_error'].mean():.4f}", out)


def test_train_prints_the_number_of_non_finite_steps_of_a_member(tmp_path, command):
    run = badger.build_run("tiny_runs:tiny", outer_steps=4, seed=4, seeds=2)
    run.folder = tmp_path / "run"
    with torch.no_grad():
        next(run.learner.members[1].agent.act.parameters()).fill_(1e30)
    badger.train(run, tensorboard=False)
    assert "seed 5, not finite in 4 outer steps\n" in command("resume", run.folder, "--trust-code")[1]


def test_evaluate_uses_one_member_of_a_population(population, tmp_path, command):
    values, out = result(command, population.folder, tmp_path, "--member", 2, "--episodes", 8)
    learner = load_trusted(population.folder).learner.members[2]
    scores = evaluate(learner.agent, learner.task, 8, generator(0, "evaluate"))
    assert values["member"] == 2 and values["scores"]["error"]["mean"] == pytest.approx(scores["error"].mean().item())
    assert "member 2 of 3, seed 6" in out


@pytest.mark.parametrize("member", [-1, 3])
def test_an_unknown_member_is_refused_with_the_valid_range(population, command, member):
    code, _, err = command("evaluate", population.folder, "--trust-code", f"--member={member}")
    assert code == 2 and f"--member {member}: the run has 3 members, want 0 to 2" in err


@pytest.mark.parametrize(
    "words, message",
    [
        ("--member 5", "--member 5: the run has 1 members, want 0 to 0"),
        ("--sampled", "--sampled: the actions of BPTT are not sampled; leave it out"),
        ("--sampled --deterministic", "--sampled: --deterministic is given, too; want one of them"),
        ("--lesion 99", "--lesion 99: want indices of experts from 0 to 1, such as 0,2"),
        ("--seed -1", "--seed -1: want at least 0"),
        ("--json ''", "--json '': want a path"),
        ("--json .", "--json .: want a file, this is a folder"),
        ("--build nope", "--build nope: want module:function"),
        ("--experts 1000000000", r"--experts 1000000000: want smaller sizes: .* would take \d{12} bytes"),
        ("--episodes 1000000000000", r"--episodes 1000000000000: want smaller sizes: .* \(4 TB\)"),
        ("--grid --experts 0", "--experts 0: want at least 1"),
        ("--grid --experts 2 -4", "--experts 2 -4: want at least 1"),
        ("--grid --experts x", "--experts x: want any number of values, each a whole number"),
        ("--grid --experts 10000000000", "--experts 10000000000: want smaller sizes"),
        ("--grid --out run.json", "--out run.json: want a folder, .*/run.json is a file"),
        ("--best stray", "--best stray: want no value"),
    ],
)
def test_wrong_words_of_evaluate_are_one_line(folder, command, monkeypatch, words, message):
    monkeypatch.chdir(folder)
    code, out, err = command("evaluate", folder, "--trust-code", *shlex.split(words))
    assert (code, out) == (2, "") and re.fullmatch(rf"badger: {message}.*\n", err)


@pytest.mark.parametrize(
    "words, message",
    [
        ("inspect nowhere", "nowhere holds no run"),
        ("inspect", "inspect: Missing from badger inspect: PATH run folder"),
        ("resume nowhere stray", "resume: Unrecognized options: stray"),
        ("compare --threshold nan", "--threshold nan: want a finite number"),
        ("compare", "no runs to compare"),
        ("study nope", "unknown study 'nope'"),
        ("study memory-helps --jobs 0", "--jobs 0: want at least 1 process"),
        ("study memory-helps --seeds 0", "--seeds 0: want at least 1"),
        ("study memory-helps --arms nope", "--arms nope: unknown arm 'nope'"),
        ("bench --threads 0", "--threads 0: want 1 to 1024"),
        ("bench --json /nowhere/x.json", "--json /nowhere/x.json: want a file in a folder that exists"),
        ("train gymnasium --env nope", "--env nope cannot be constructed: NameNotFound"),
        ("train gymnasium --env toy_worlds:exits_at_once", "--env .* cannot be constructed: SystemExit: 4"),
        ("train pettingzoo --env toy_worlds:exits_at_once", "--env .* cannot be constructed: SystemExit: 4"),
        ("train t_maze --lr x --batch y", "--lr x: want a number"),
        ("train t_maze --device cpu:7", "--device cpu:7: want cpu, cuda or auto"),
        ("train t_maze --batch 1000000000000", r"--batch 1000000000000: want smaller sizes: .* \(520 TB\)"),
    ],
)
def test_wrong_words_of_other_commands_are_one_line(command, monkeypatch, tmp_path, words, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = command(*words.split())
    assert (code, out) == (2, "") and re.fullmatch(rf"badger: {message}.*\n", err)
    assert not list(tmp_path.iterdir())


def test_a_module_that_ends_the_process_is_a_wrong_word(user_module, command):
    (user_module / "exits.py").write_text("import sys\nsys.exit(5)\n")
    code, _, err = command("train", "exits:recipe")
    assert (code, err) == (2, "badger: code that was loaded ended the process: SystemExit: 5\n")


def test_of_several_flags_the_one_without_which_the_command_is_right_is_named(command):
    code, _, err = command("train", "t_maze", "--outer-steps", 5, "--core.hidden-size", 10**14, "--batch", 2)
    assert code == 2 and err.startswith("badger: --core.hidden-size 100000000000000: want smaller sizes")


def test_long_external_episodes_are_truncated_after_a_short_training_and_it_is_said(tmp_path, command, monkeypatch):
    monkeypatch.setattr(default_size, "SHORTEST_LIMIT", 10)
    size = ("--total-steps", 8, "--batch", 2, "--learner.horizon", 4, "--core.hidden-size", 4, "--steps", 20)
    code, out, _ = command("train", "gymnasium", "--env", "toy_worlds:endless", *size, "--folder", tmp_path / "run")
    limit = "10 of 10 episodes were truncated after 10 of at most 20 steps; whole ones: badger evaluate RUN --episodes"
    assert code == 0 and limit in out
    code, out, _ = command("evaluate", tmp_path / "run", "--trust-code", "--json", tmp_path / "result.json")
    assert limit in out and strict_json((tmp_path / "result.json").read_text())["truncated_after"] == 10
    for words in (("--episodes", 1), ("--steps", 20)):
        code, out, _ = command("evaluate", tmp_path / "run", "--trust-code", *words)
        assert code == 0 and "episodic_length 20" in " ".join(out.split()) and limit not in out
