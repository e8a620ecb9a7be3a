"""Executors by name: where the processes of a study are started.

- `threads`: of this process, each of which waits for one process; the default.
- `dask://HOST:PORT`: the workers of a running dask scheduler, on machines that see the study's folder under the same
  path: of `dask.distributed`'s LocalCluster or SSHCluster, or of a batch system through dask-jobqueue.
- `module:function`: what a function of yours returns, such as an executor of another library.

A scheduler whose workers are two jobs of SLURM, by `dask_jobqueue` (`pip install dask-jobqueue`):

```
cluster = SLURMCluster(queue="main", cores=1, processes=1, memory="2GB", scheduler_options={"port": 8786})
cluster.scale(jobs=2)  # and keep this process; cluster.job_script() is what is submitted
badger study memory-helps --executor dask://HOST:8786
```
"""

import importlib
import os
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any

from badger.registry import resolve_name

THREADS, DASK = "threads", "dask://"


def given_or_threads(executor: Executor | None, workers: int) -> AbstractContextManager[Executor]:
    """An executor that stays open at the end of the context, or, where there is none, threads, which are shut down.

    Args:
        executor: of the caller; None: none.
        workers: number of threads.
    """
    return ThreadPoolExecutor(workers) if executor is None else nullcontext(executor)


def find_executor(name: str, jobs: int | None) -> Callable[[], AbstractContextManager[Executor]]:
    """A function that starts an executor; the context that it returns shuts it down.

    Args:
        name: `threads`, `dask://HOST:PORT`, or `module:function`.
        jobs: number of threads; None: one for each core.

    Raises:
        ValueError: jobs < 1, or a number for another executor than threads, or no such executor; says what is wanted.
    """
    if jobs is not None and name != THREADS:
        raise ValueError(f"jobs={jobs} is of the executor {THREADS!r}; want no number, executor {name!r} has its own")
    workers = len(os.sched_getaffinity(0)) if jobs is None else jobs
    if workers < 1:
        raise ValueError(f"jobs={jobs}, want at least 1 process")
    if not name.startswith(DASK):
        make = resolve_name({THREADS: partial(ThreadPoolExecutor, workers)}, name, "executor", callable)
        return partial(_made, make, name)
    try:
        distributed = importlib.import_module("distributed")
    except ImportError as error:
        raise ValueError(f"executor={name!r} needs dask: pip install 'badger-agents[cluster]'") from error
    return partial(_dask, distributed, name)


@contextmanager
def _dask(distributed: Any, name: str) -> Iterator[Executor]:
    try:
        client = distributed.Client(f"tcp://{name.removeprefix(DASK)}", timeout="10s")
    except (OSError, ValueError) as error:
        raise ValueError(f"executor={name!r}: no dask scheduler answers there ({error})") from error
    with client:
        # a failed job is not run again, and jobs with equal arguments are different ones
        yield client.get_executor(retries=0, pure=False)


def _made(make: Callable[[], Any], name: str) -> Executor:
    executor = make()
    if not isinstance(executor, Executor):
        raise ValueError(f"executor={name!r} returns a {type(executor).__name__}, want a concurrent.futures.Executor")
    return executor
