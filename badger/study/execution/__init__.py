"""Runs the jobs of a study by any `concurrent.futures.Executor`, each job in a process of its own.

- `badger.study.execution.jobs`: runs jobs, reports each as it ends, and stops all where the study is interrupted.
- `badger.study.execution.child`: the process of one job, on whatever machine the executor starts it.
- `badger.study.execution.executors`: threads on this machine (the default), dask, or an executor of your own.

A job that fails or is killed stops no other one. Nothing outlives the process that started it.
"""

from badger.study.execution.jobs import Failure, run_jobs

__all__ = ["Failure", "run_jobs"]
