"""One writer for each run folder, and a folder that is removed while it is in use."""

import json
import os
import shutil
import signal
import socket
import threading
import time

import filelock
import pytest

from badger import load_run, read_metrics, train
from badger.cli.main import main
from badger.errors import BadgerError, RunLocked, RunRemoved
from badger.runs.files import atomic_write
from badger.runs.lock import write_lock
from badger.study.compare import compare_runs
from tiny_runs import At, go, hold_lock, load_trusted, made, start


@pytest.fixture
def run(tmp_path):
    """A run of 5 outer steps, with a checkpoint."""
    run = made(tmp_path / "run")
    train(run, 5, tensorboard=False)
    return run


@pytest.fixture
def locked(run):
    """The folder of a run that another process has locked, and that process."""
    process = start(hold_lock, run.folder)
    end = time.monotonic() + 60
    while not (run.folder / "held").exists():
        assert time.monotonic() < end
        time.sleep(0.01)
    yield run.folder, process
    process.kill()
    process.join()


def test_a_second_writer_is_told_who_the_first_is(locked):
    folder, process = locked
    with pytest.raises(RunLocked) as error:
        train(load_trusted(folder), tensorboard=False)
    assert f"process {process.pid} on {socket.gethostname()}, since 20" in str(error.value)
    assert error.value.folder == folder and error.value.holder["pid"] == str(process.pid)
    assert isinstance(error.value, BadgerError)


def test_a_second_writer_changes_nothing(locked):
    folder, _ = locked
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(RunLocked):
        train(load_trusted(folder), tensorboard=False)
    with pytest.raises(RunLocked):
        load_trusted(folder).save()
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_second_resume_at_the_command_line_exits_with_1(locked, capsys):
    folder, process = locked
    assert main(["resume", str(folder), "--trust-code"]) == 1
    assert f"is in use: process {process.pid} on" in capsys.readouterr().err


def test_readers_need_no_lock(locked):
    folder, _ = locked
    assert load_trusted(folder).step == 5
    assert len(read_metrics(folder)) == 5
    assert compare_runs([folder])


def test_the_lock_of_a_killed_process_is_no_obstacle(locked):
    folder, process = locked
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    run = load_trusted(folder)
    train(run, 1, tensorboard=False)
    assert run.step == 6


def test_the_holder_is_the_last_one_that_wrote(run):
    about = json.loads((run.folder / ".lock.json").read_text())
    assert about["pid"] == os.getpid() and about["host"] == socket.gethostname()


def test_two_trainings_in_one_process_exclude_each_other(run):
    second = load_trusted(run.folder)
    At.change(run, 7, lambda: train(second, tensorboard=False))
    with pytest.raises(RunLocked, match="is in use"):
        train(run, 3, tensorboard=False)


def test_a_run_that_another_process_has_trained_further_is_loaded_again(run):
    stale = load_trusted(run.folder)
    train(run, 5, tensorboard=False)
    with pytest.raises(RunLocked, match=r"trained .* to outer step 10 since it was loaded here, at outer step 5"):
        train(stale, tensorboard=False)
    train(load_trusted(run.folder), 1, tensorboard=False)


def test_of_two_runs_that_begin_at_once_one_is_refused(tmp_path):
    first, second = start(go, tmp_path / "run"), start(go, tmp_path / "run")
    first.join()
    second.join()
    assert {first.exitcode, second.exitcode} == {0, 1}
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(1, 31))


def test_a_file_system_without_locks_is_named(run, monkeypatch):
    def refuse(self, timeout):
        raise NotImplementedError

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.warns(UserWarning, match=f"the file system of {run.folder} has no locks"):
        train(run, 1, tensorboard=False)
    assert run.step == 6


def test_the_lock_ends_with_its_context(tmp_path):
    with pytest.raises(ZeroDivisionError), write_lock(tmp_path):
        _ = 1 / 0
    with write_lock(tmp_path):
        pass


def test_temporary_files_of_two_processes_differ(tmp_path, monkeypatch):
    """So that neither renames what the other has started to write."""
    names = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: names.append(old) or real(old, new))
    for pid in (1, 2):
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid)
        atomic_write(tmp_path / "file", b"")
    assert len(set(names)) == 2


@pytest.mark.parametrize("leave", [shutil.rmtree, lambda folder: folder.rename(folder.with_name("elsewhere"))])
def test_a_run_whose_folder_is_removed_ends_with_a_checkpoint(run, leave):
    At.change(run, 7, lambda: leave(run.folder))
    with pytest.raises(RunRemoved, match=r"removed or renamed.* Outer step 10 is saved in .*step_00000010\.pt"):
        train(run, tensorboard=False)
    train(load_trusted(run.folder), 2, tensorboard=False)
    assert [row["step"] for row in read_metrics(run.folder)] == [11, 12]


@pytest.mark.parametrize("name, value", [("threads", 64), ("torch", "1.0"), ("processes", 2), ("device", "abacus")])
def test_a_run_that_continues_with_other_rounding_warns(run, name, value):
    loaded = load_trusted(run.folder)
    loaded.platform[name] = value
    with pytest.warns(UserWarning, match=f"outer step 5 was saved with {name} {value}, now .* not bit for bit"):
        train(loaded, 1, tensorboard=False)


def test_run_json_has_what_decides_the_rounding(run):
    assert (
        json.loads((run.folder / "run.json").read_text())["platform"]
        == load_run(run.folder, build=lambda: made(None)).platform
    )


def test_a_lock_may_be_taken_in_a_thread(run):
    thread = threading.Thread(target=train, args=[run, 2], kwargs={"tensorboard": False})
    thread.start()
    thread.join()
    assert run.step == 7
