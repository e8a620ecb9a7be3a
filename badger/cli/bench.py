"""The command `badger bench`: speed and memory, compared with references."""

import json as json_format
import sys
from pathlib import Path

import torch
from tyro.conf import Positional

from badger.bench import BENCHMARKS, as_json, bench, find_benchmarks, table, versions
from badger.cli.paths import check_output_file
from badger.cli.usage import Work, parse
from badger.recipes.settings import resolve_device

MAX_THREADS = 1024


def bench_command(words: list[str]) -> Work:
    """Finds the benchmarks; the work runs them.

    Args:
        words: the command line after `badger bench`.
    """

    def benchmark(
        cases: Positional[tuple[str, ...]] = (),
        *,
        device: str = "cpu",
        json: Path | None = None,
        threads: int | None = None,
    ) -> Work:
        """Measure this library and references alternately, in one process; print a table for BENCHMARKS.md.

        Benchmarks: {cases}, or your own module:function.

        Args:
            cases: names of benchmarks; default: all.
            device: cpu, cuda, or auto: cuda where there is one.
            json: file for the results, rewritten after each of them.
            threads: of torch; default: OMP_NUM_THREADS, or 1.
        """
        if threads is not None and not 1 <= threads <= MAX_THREADS:
            raise ValueError(f"threads={threads}, want 1 to {MAX_THREADS}")
        find_benchmarks(cases)
        check_output_file("json", json)
        where = resolve_device(device)

        def work() -> int:
            if threads is not None:
                torch.set_num_threads(threads)
            rows = []
            for row in bench(cases, where):
                rows.append(row)
                print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
                if json is not None:
                    json.write_text(json_format.dumps(as_json(rows, where), indent=2) + "\n")
            print(", ".join(f"{name} {value}" for name, value in versions(where).items()), table(rows), sep="\n\n")
            return 0

        return work

    benchmark.__doc__ = (benchmark.__doc__ or "").format(cases=", ".join(BENCHMARKS))
    return parse(benchmark, words, prog="badger bench")
