"""Jobs of studies by any executor: the same results, and what ends which process."""

import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from badger.cli.main import main
from badger.errors import RunLocked
from badger.runs.signals import Interrupted
from badger.study.execution import child
from badger.study.execution.executors import find_executor
from badger.study.execution.jobs import STOP_FILE, run_jobs
from badger.study.run import run_study
from badger.study.trial import Trial, is_finished
from forked_children import patch_children
from tiny_runs import TINY, processes

distributed = pytest.importorskip("distributed")


@pytest.fixture
def forked(monkeypatch):
    patch_children(monkeypatch, processes)


@pytest.fixture
def cluster(forked):
    """The address of a dask scheduler with two workers, threads of this process."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": False, "protocol": "tcp://"}
    with distributed.LocalCluster(**options, silence_logs=50) as made:
        yield made.scheduler_address


def refuse(word):
    raise ValueError(f"{word} is refused")


def say(word):
    print(word)
    sys.stdout.flush()


def write_path(file):
    file.write_text(json.dumps([os.getpid(), os.getsid(0), sys.path]))


def lock(file):
    file.write_text("locked")
    raise RunLocked("in use", folder=file.parent, holder={})


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def outcomes(folder, arms=(), **options):
    found = run_study(TINY, folder, seeds=1, arms=arms, tensorboard=False, quiet=True, **options)
    assert not found.missing
    return [{name: getattr(run, name) for name in ("arm", "seed", "steps", "scores")} for run in found.outcomes]


def is_alive(process):
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    return False


def test_results_by_dask_are_those_by_threads(tmp_path, cluster):
    with find_executor(cluster.replace("tcp", "dask"), None)() as executor:
        by_dask = outcomes(tmp_path / "dask", executor=executor)
    assert by_dask == outcomes(tmp_path / "threads", workers=2)
    for file in (tmp_path / "threads").rglob("result.json"):
        assert file.read_bytes() == (tmp_path / "dask" / file.relative_to(tmp_path / "threads")).read_bytes()


def test_the_command_takes_an_executor_of_a_users_module(tmp_path, forked, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text("from concurrent.futures import ThreadPoolExecutor as Mine\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    words = ["study", "tiny_runs:TINY", "--seeds", "1", "--arms", "short", "--executor", "mine:Mine"]
    assert main(words) == 0
    assert is_finished(Trial(TINY, "short", 0, Path("runs/tiny")))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("thread", "--executor thread: unknown executor 'thread', want one of: threads."),
        (
            "no_such_module:f",
            "--executor no_such_module:f: executor 'no_such_module:f': No module named 'no_such_module'",
        ),
    ],
)
def test_an_unknown_executor_is_refused_in_the_words_that_were_typed(tmp_path, capsys, name, message):
    assert main(["study", "memory-helps", "--folder", str(tmp_path / "x"), "--executor", name]) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "x").exists()


def test_a_number_of_processes_is_of_threads_alone():
    with pytest.raises(ValueError, match="executor 'os:getcwd' has its own"):
        find_executor("os:getcwd", 2)


def test_what_is_no_executor_is_refused():
    with pytest.raises(ValueError, match=r"returns a str, want a concurrent\.futures\.Executor"):
        find_executor("os:getcwd", None)()


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch):
    def refuse(*_, **__):
        raise OSError("timed out")

    monkeypatch.setattr(distributed, "Client", refuse)
    with pytest.raises(ValueError, match="no dask scheduler answers there"), find_executor("dask://nowhere:1", None)():
        pass


def run_one(function, job, folder):
    found = []
    with ThreadPoolExecutor(1) as executor:
        run_jobs(function, [job], executor, folder, lambda _, failure: found.append(failure))
    return found


def test_a_jobs_process_is_new_has_the_path_of_its_starter_and_prints_to_standard_error(tmp_path, capfd):
    assert run_one(write_path, tmp_path / "file", tmp_path) == [None]
    process, session, path = json.loads((tmp_path / "file").read_text())
    assert process == session != os.getpid() and path == sys.path and not is_alive(process)
    assert run_one(say, "hello", tmp_path) == [None]
    assert capfd.readouterr() == ("", "hello\n")


def test_the_error_of_a_job_is_its_failure(tmp_path, forked):
    assert run_one(refuse, "it", tmp_path) == [("ValueError", "it is refused")]


def test_a_job_waits_for_a_run_that_is_locked_and_then_says_who_holds_it(tmp_path, monkeypatch):
    monkeypatch.setattr(child, "LOCK_TIMEOUT", 0.05)
    assert child.call(lock, tmp_path / "file") == ["RunLocked", "in use"]


def test_an_error_of_the_executor_is_the_failure_of_its_job(tmp_path):
    class Lost(ThreadPoolExecutor):
        def submit(self, *_):
            return super().submit(refuse, "a machine")

    found = []
    with Lost(1) as executor:
        run_jobs(say, ["x"], executor, tmp_path, lambda _, failure: found.append(failure))
    assert found == [("ValueError", "a machine is refused")]


def test_a_stop_file_saves_and_ends_the_study(tmp_path, forked):
    def put():
        wait_until((tmp_path / "short" / "seed-0" / "metrics.jsonl").exists)
        (tmp_path / STOP_FILE).touch()

    threading.Thread(target=put).start()
    with pytest.raises(Interrupted, match=r"stopped; [01] of 2 runs are finished"):
        run_study(TINY, tmp_path, seeds=1, tensorboard=False, quiet=True)
    assert not (tmp_path / STOP_FILE).exists()
    assert any((tmp_path / "short" / "seed-0" / "checkpoints").iterdir())
    assert len(outcomes(tmp_path)) == 2


@pytest.mark.nightly
def test_a_killed_job_of_a_cluster_is_its_own_failure_and_a_killed_workers_jobs_run_elsewhere(tmp_path):
    """With processes of LocalCluster, and SIGKILL."""
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options, silence_logs=50) as made, distributed.Client(made) as client:
        executor = client.get_executor(retries=0, pure=False)
        files = [tmp_path / name for name in "abc"]
        found = {}
        call = write_and_sleep, files, executor, tmp_path, lambda job, why: found.update({job: why})
        sleeper = threading.Thread(target=run_jobs, args=call)
        sleeper.start()
        wait_until(lambda: files[0].exists() and files[1].exists())
        os.kill(int(files[0].read_text()), signal.SIGKILL)
        wait_until(lambda: files[0] in found)
        assert re.match("its process ended with exit code -9", found[files[0]].text)
        first = files[1].read_text()
        os.kill(parent_of(int(first)), signal.SIGKILL)  # the worker
        wait_until(lambda: files[1].read_text() not in ("", first))
        assert not is_alive(int(first))
        (tmp_path / "go").touch()
        sleeper.join()
        assert found == {files[0]: found[files[0]], files[1]: None, files[2]: None}


def write_and_sleep(file):
    file.write_text(str(os.getpid()))
    wait_until((file.parent / "go").exists)


def parent_of(process):
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
