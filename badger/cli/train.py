"""The commands `badger train RECIPE` and `badger resume RUN`: training, and a summary at its end."""

import os
import time
from functools import partial
from pathlib import Path

import torch
from tyro.conf import Positional

from badger import distributed, figures
from badger.cli.evaluate import Scores, print_scores
from badger.cli.flags import parse_flags
from badger.cli.loading import load
from badger.cli.paths import check_output_folder
from badger.cli.usage import Work, parse, print_usage
from badger.errors import Diverged, ProcessLost
from badger.evaluation.default_size import describe_limit
from badger.evaluation.evaluate import check_step, evaluate
from badger.learners import Learner, acting_agent, requirement
from badger.learners.offline.base import Offline
from badger.learners.population import member_learners
from badger.recipes import RECIPES
from badger.recipes.build import budget, build_run, find_recipe, steps_per_update
from badger.rng import generator
from badger.runs.evaluations import mean_scores, write_evaluation
from badger.runs.files import as_path, check_new_run_folder
from badger.runs.protocol import evaluation_policies, learner_evaluation
from badger.runs.recorder import read_metrics
from badger.runs.run import Run
from badger.runs.signals import Interrupted, signal_number
from badger.runs.training import train
from tasks import Task


def train_command(words: list[str]) -> Work:
    """Builds a new agent; the work trains it.

    Args:
        words: the command line after `badger train`.
    """
    if not words or words[0].startswith("-"):
        recipes = f"recipes: {', '.join(RECIPES)}, or your own module:function"
        return print_usage(words, f"usage: badger train RECIPE [--flags]; {recipes}")
    recipe, *flags = words
    given = parse_flags(find_recipe(recipe), flags, prog=f"badger train {recipe}")
    tensorboard = given.pop("tensorboard")
    folder = None if (typed := given.pop("folder")) is None else as_path(typed)
    check_output_folder("folder", folder)
    if folder is not None:
        check_new_run_folder(folder)
    run = build_run(recipe, **given)
    check_data(run)
    learner = member_learners(run.learner)[0]
    if not learner.task.external:  # an external environment is first stepped by the training
        check_step(acting_agent(learner), learner.task, learner.eval_policy)

    def work() -> int:
        stamp = f"{recipe.replace(':', '.')}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"  # seeds start side by side
        run.folder = folder or Path("runs") / distributed.broadcast_rank0(stamp)
        return _run_training(run, tensorboard)

    return work


def resume_command(words: list[str]) -> Work:
    """Loads a run; the work resumes it.

    Args:
        words: the command line after `badger resume`.
    """

    def resume(
        run: Positional[Path],
        *,
        total_steps: int | None = None,
        tensorboard: bool = True,
        build: str | None = None,
        trust_code: bool = False,
    ) -> Work:
        """Resume a run from its last good checkpoint, bit-exact, up to the outer steps that it was started with.

        Args:
            run: run folder.
            total_steps: train on, up to this number of environment steps over all copies; the learning rate continues
                as in a run of this length.
            tensorboard: write events for TensorBoard.
            build: function that builds a run that no recipe has made, module:function, without arguments.
            trust_code: allow importing code of others that its run.json names.
        """
        if total_steps is not None and total_steps < 1:
            raise ValueError(f"total_steps={total_steps}, want at least 1")
        extended = load(run, build=build, trust_code=trust_code, total_steps=total_steps)
        check_data(extended)
        if total_steps is None:
            return partial(_run_training, extended, tensorboard)
        description = _describe_extension(extended)

        def work() -> int:
            if distributed.rank() == 0:
                print(description, flush=True)
                extended.save_extension()
            return _run_training(extended, tensorboard)

        return work

    return parse(resume, words, prog="badger resume")


def check_data(run: Run) -> None:
    """Checks that the recorded episodes from which an agent is to learn are there.

    Args:
        run: with any learner.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the agent was trained on other episodes.
    """
    for learner in member_learners(run.learner):
        if isinstance(learner, Offline):
            learner.check_data()


def _describe_extension(extended: Run) -> str:
    """What is trained, and how the learning rate continues, in two lines."""
    each, step, previous, new = steps_per_update(extended), extended.step, extended.extended_from, budget(extended)
    assert previous is not None  # `load_run` set it
    lines = [
        f"outer step {step:,} of {previous.outer_steps:,} is extended to {extended.outer_steps:,}, "
        f"{extended.outer_steps * each:,} environment steps"
    ]
    if previous.schedule is not None and new.schedule is not None:
        lines.append(
            f"learning rate   {new.schedule(step):.3g} now, as in a run of {extended.outer_steps:,} outer steps from "
            f"the start, and {new.schedule(extended.outer_steps):.3g} at its end "
            f"(it would have been {previous.schedule(step):.3g})"
        )
    return "\n".join(lines)


def _run_training(run: Run, tensorboard: bool) -> int:
    try:
        train(run, tensorboard=tensorboard)
    except (KeyboardInterrupt, Diverged) as end:
        if distributed.rank() > 0:
            return 0  # all processes end here together: rank 0 saves, prints and gives the exit code
        if isinstance(end, KeyboardInterrupt):
            raise Interrupted(f"{end}. Resume with: {run.shell_command('resume')}", signal_number(end)) from end
        raise
    except ProcessLost as error:
        raise ProcessLost(f"{error}. Resume from the last checkpoint with: {run.shell_command('resume')}") from error
    if distributed.rank() == 0:
        _summarize(run)
    return 0


def _evaluate_policies(learner: Learner, task: Task, episodes: int | None, device: torch.device) -> dict[str, Scores]:
    """The scores of an agent by each policy that it may be judged by, in episodes that start alike."""
    return {
        name: evaluate(
            learner.agent, task, episodes, generator(learner.seed, "evaluate", device=device), policy, progress=True
        )
        for name, policy in evaluation_policies(learner).items()
    }


def _summarize(run: Run) -> None:
    """Prints the scores on held-out episodes beside reference scores, draws the learning curve, names next steps."""
    folder, learners = run.folder, member_learners(run.learner)
    assert folder is not None
    task, episodes = learner_evaluation(learners[0])
    rows, references = read_metrics(folder), task.references()
    print(f"\n{run.step} outer steps in {run.seconds:.0f} s of training")
    curves, metric, label = [], "{score}{member}_ema", "moving average in training"
    if requirement(learners[0], "needs_data"):  # no episode is lived in training
        metric, label = "eval/{score}{member}", "held-out episodes"
    for learner in learners:
        member = f"/seed_{learner.seed}" if len(learners) > 1 else ""
        name = metric.format(score=task.score, member=member)
        scored_rows = [row for row in rows if row.get(name) is not None]
        curves.append(([row["step"] for row in scored_rows], [row[name] for row in scored_rows]))
        if member:
            num_bad = sum(not row.get(f"finite{member}", True) for row in rows)
            print(f"seed {learner.seed}" + (f", not finite in {num_bad} outer steps" if num_bad else ""))
        by_policy = _evaluate_policies(learner, task, episodes, run.device)
        main = next(iter(by_policy.values()))
        write_evaluation(folder, run.step, learner.seed, mean_scores(main))
        for policy, scores in by_policy.items():  # of further policies only what differs
            differing = {k: v for k, v in scores.items() if scores is main or not v.equal(main[k])}
            print_scores(differing, references, policy)
            if limit := describe_limit(task, learner.task.evaluation_task, scores):
                print(f"{policy + ':':<15} {limit}")
    picture = folder / "learning_curve.png"
    curve = figures.learning_curves({label: curves}, references.get(task.score, {}), task.score)
    curve.savefig(picture)
    print(f"learning curve  {picture}\nlook inside     tensorboard --logdir {folder}")
    print(f"evaluate again  {run.shell_command('evaluate')}")
