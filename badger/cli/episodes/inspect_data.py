"""The command `badger inspect` of a data set: statistics of recorded episodes, and a picture."""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from tyro.conf import Positional

from badger.cli.paths import check_output_file
from badger.cli.usage import Work, parse
from badger.datasets import EpisodeDataset
from badger.datasets.minari.reader import METADATA
from badger.datasets.statistics import QUANTILES, EpisodeStatistics, episode_statistics
from badger.errors import DamagedFile
from badger.figures.recorded_episodes import plot_recorded_episodes
from badger.host_memory import format_bytes

DRAWN_STEPS = 1000
"""Steps of an episode that are drawn."""
SHOWN = 20
"""Options of a choice, or numbers of an action, that are printed."""


def is_data_set(path: Path) -> bool:
    """Whether a path is a file, or a folder of Minari, or names a file that does not exist; a run is none of them.

    Args:
        path: any.
    """
    missing = not path.exists() and path.suffix in (".h5", ".hdf5")
    return missing or path.is_file() or (path / "data" / METADATA).is_file()


def inspect_data_command(words: list[str]) -> Work:
    """Loads a data set; the work prints and draws it, with exit code 1 where a step is damaged.

    Args:
        words: the command line after `badger inspect`.
    """

    def inspect(data: Positional[Path], *, episode: int | None = None, out: Path | None = None) -> Work:
        """Check all steps of a data set of recorded episodes, print statistics, and draw one episode.

        Args:
            data: file of badger record, or folder of Minari.
            episode: number of the episode that is drawn, from 0 on; default: the first of highest return.
            out: file for the picture; default: DATA-inspection.png, beside it.
        """
        loaded = EpisodeDataset.load(data)
        picture = data.with_name(f"{data.stem}-inspection.png") if out is None else out
        check_output_file("out", picture)
        if episode is not None and not 0 <= episode < len(loaded):
            raise ValueError(f"episode={episode}, want 0 to {len(loaded) - 1}, those of {data}")

        def work() -> int:
            print("\n".join(_describe_file(loaded, data)))
            try:
                loaded.check()
            except DamagedFile as error:
                print(f"damaged         {error}")
                return 1
            statistics = episode_statistics(loaded)
            print("\n".join(_describe(statistics)))
            drawn = int(statistics.returns.argmax()) if episode is None else episode
            _draw(loaded, statistics, drawn, picture)
            return 0

        return work

    return parse(inspect, words, prog="badger inspect")


def _describe_file(data: EpisodeDataset, path: Path) -> Iterator[str]:
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    steps, size = int(data.length.sum()), sum(file.stat().st_size for file in files)
    yield f"recorded        {len(data)} episodes of {data.task or 'a task without a name'}, {steps} steps"
    yield f"size            {size} bytes ({format_bytes(size)})"
    yield f"observations    {data.obs_size} numbers, {str(data.dtype).removeprefix('torch.')}"
    yield f"actions         {data.action_space}" + ("" if data.agents is None else f" of each of {data.agents} agents")


def _describe(statistics: EpisodeStatistics) -> Iterator[str]:
    episodes = len(statistics.length)
    yield f"{'':<15} {'minimum':>10} {'25 %':>10} {'median':>10} {'75 %':>10} {'maximum':>10} {'mean':>10}"
    yield f"return          {_quantiles(statistics.returns)}"
    yield f"length          {_quantiles(statistics.length.double())}"
    yield f"ends            {statistics.terminated} terminated, {episodes - statistics.terminated} truncated"
    for i, counts in enumerate(statistics.choices):
        fractions = [f"{fraction:.3f}" for fraction in (counts / counts.sum().clamp(min=1)).tolist()]
        more = f" and {len(fractions) - SHOWN} more" if len(fractions) > SHOWN else ""
        yield f"choice {i:<8} {' '.join(fractions[:SHOWN])}{more}"
    for i, (low, mean, deviation, high) in enumerate(statistics.numbers[:SHOWN].tolist()):
        yield f"number {i:<8} {mean:.4g} +- {deviation:.4g}, from {low:.4g} to {high:.4g}"


def _quantiles(values: Tensor) -> str:
    ordered = values.sort().values  # torch.quantile takes 16 million values at most
    index = [round(q * (len(values) - 1)) for q in QUANTILES]
    return " ".join(f"{value:>10.4g}" for value in [*ordered[index].tolist(), values.mean().item()])


def _draw(data: EpisodeDataset, statistics: EpisodeStatistics, episode: int, file: Path) -> None:
    """Saves the picture of a data set and of one of its episodes."""
    length = int(data.length[episode])
    steps = min(length, DRAWN_STEPS)
    drawn = data.windows(torch.tensor([episode]), torch.tensor([0]), steps)
    part = f", its first {steps} of {length} steps" if steps < length else ""
    reward = drawn.reward[0] if data.agents is None else drawn.reward[0].mean(-1)
    title = f"episode {episode}, return {statistics.returns[episode]:.4g}{part}"
    figure = plot_recorded_episodes(
        statistics.returns, statistics.length, statistics.choices, drawn.obs[0].flatten(1), reward, title=title
    )
    figure.savefig(file)
    print(f"episode {episode:<7} {file}")
