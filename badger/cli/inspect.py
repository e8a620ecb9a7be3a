"""The command `badger inspect RUN`: the content of a run folder, and metrics and pictures of its agent.

Of a data set it is `badger.cli.episodes.inspect_data`.
"""

from collections.abc import Iterator
from pathlib import Path

from tyro.conf import Positional

from badger.cli.episodes.inspect_data import inspect_data_command, is_data_set
from badger.cli.loading import Subject, load_subject
from badger.cli.paths import check_output_file, check_output_folder
from badger.cli.usage import Work, parse
from badger.evaluation.inspection import inspect_agent
from badger.evaluation.played_episode import play_episode
from badger.figures.episode_animation import animate as animate_episode
from badger.figures.episode_animation import check_animation_file, save_animation
from badger.rng import generator
from badger.runs import checkpoint
from badger.runs.evaluations import read_evaluation
from badger.runs.recorder import METRICS, Metrics, scan_metrics
from badger.runs.run import Description, read_description


def inspect_command(words: list[str]) -> Work:
    """Loads the run of `badger inspect`; the work prints it, with exit code 1 where a file of the run is damaged.

    Args:
        words: the command line after `badger inspect`.
    """
    if any(is_data_set(Path(word)) for word in words):
        return inspect_data_command(words)

    def inspect(
        run: Positional[Path],
        *,
        member: int = 0,
        seed: int = 0,
        build: str | None = None,
        trust_code: bool = False,
        out: Path | None = None,
        animate: Path | None = None,
    ) -> Work:
        """Print what a run folder holds and what its agent does in a batch of episodes; save pictures of one episode.

        Of a data set of badger record, or of Minari, it prints and draws statistics: badger inspect data.h5 --help.

        Episodes of an external environment are truncated after 1,000 steps.

        Args:
            run: run folder.
            member: index of an agent of a population, from 0 on.
            seed: seed of the episodes, which are held out from training.
            build: function that builds a run that no recipe has made, module:function, without arguments.
            trust_code: allow importing code of others that its run.json names.
            out: folder for the pictures; default: RUN/inspection.
            animate: file for an animation of one episode, step by step: .html (with a slider), .gif, or .mp4 (needs
                ffmpeg).
        """
        folder = out or run / "inspection"
        check_output_folder("out", folder)
        _check_animation("animate", animate)
        description = read_description(run)
        metrics = scan_metrics(run) if (run / METRICS).exists() else Metrics([], {}, truncated=False)
        damaged = list(damaged_files(run, metrics))
        print("\n".join([*describe_run(description), *describe_files(run, metrics), *damaged]))
        subject = load_subject(
            run, member=member, best=False, seed=seed, build=build, trust_code=trust_code, stream="inspect"
        )

        def work() -> int:
            _inspect_agent(subject, folder)
            if animate is not None:
                _animate(subject, seed, animate)
            return 1 if damaged else 0

        return work

    return parse(inspect, words, prog="badger inspect")


def _check_animation(flag: str, file: Path | None) -> None:
    """Raises ValueError if the file cannot be written, or is of a kind that no animation has."""
    check_output_file(flag, file)
    try:
        if file is not None:
            check_animation_file(file)
    except ValueError as error:
        raise ValueError(f"--{flag} {error}") from error


def _inspect_agent(subject: Subject, folder: Path) -> None:
    """Prints the agent's metrics, and saves pictures of one episode."""
    best, agent = subject.run.best, subject.agent
    if best is not None:
        print(f"best            {best.kind}, over {best.episodes} episodes: {best.value:.4g}")
    size = sum(parameter.numel() for parameter in agent.parameters())
    print(f"agent           {agent.experts} experts, {size:,} parameters, at outer step {subject.run.step}")
    found = inspect_agent(agent, subject.task, subject.rng, policy=subject.learner.eval_policy)
    for tag, value in found.scalars.items():
        print(f"{tag:<31} {value:.4g}")
    folder.mkdir(parents=True, exist_ok=True)
    for tag, picture in found.plots.items():
        file = folder / f"{tag.replace('/', '-')}.png"
        picture.savefig(file)
        print(f"{tag:<31} {file}")


def _animate(subject: Subject, seed: int, file: Path) -> None:
    """Plays an episode and saves its animation."""
    rng = generator(seed, "animate", device=subject.run.device)
    episode = play_episode(subject.agent, subject.task, rng, subject.learner.eval_policy)
    save_animation(animate_episode(episode), file)
    print(f"{f'episode of {episode.steps} steps':<31} {file}")


def describe_run(description: Description) -> Iterator[str]:
    """Lines about how the run was made.

    Args:
        description: of the run's run.json.
    """
    yield f"recipe          {description.recipe or 'none: built by hand'}"
    for name, value in {**description.defaults, **description.arguments}.items():
        yield f"  {name:<27} {value}"


def describe_files(folder: Path, metrics: Metrics) -> Iterator[str]:
    """Lines about checkpoints, metrics and the last evaluation.

    Args:
        folder: run folder.
        metrics: of the run.
    """
    steps = checkpoint.saved_steps(folder / "checkpoints")
    yield f"checkpoints     {', '.join(map(str, steps)) or 'none'}"
    yield f"metrics         {len(metrics.rows)} outer steps"
    evaluation = read_evaluation(folder)
    yield "evaluation      " + ("none" if evaluation is None else f"at outer step {evaluation['step']}")


def damaged_files(folder: Path, metrics: Metrics) -> Iterator[str]:
    """Lines that name each damaged line of metrics.jsonl and each checkpoint that cannot be read.

    Args:
        folder: run folder.
        metrics: of the run.
    """
    for number, problem in metrics.problems.items():
        yield f"damaged         line {number} of {folder / METRICS}: {problem}"
    for step in checkpoint.saved_steps(folder / "checkpoints"):
        file = checkpoint.path(folder / "checkpoints", step)
        try:
            checkpoint.read(file)
        except (ValueError, OSError, RuntimeError, KeyError) as error:
            yield f"damaged         {file}: {error}"
