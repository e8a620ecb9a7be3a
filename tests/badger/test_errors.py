"""Errors of runs and of training: one family, whose attributes survive pickling."""

import importlib
import inspect
import pickle
import pkgutil
from pathlib import Path

import pytest

import badger
from badger.errors import BadgerError, DamagedFile, Diverged, EnvFailed, RunExists, RunLocked, UntrustedCode
from tasks import EnvError

EXAMPLES = [
    RunExists("held"),
    RunLocked("locked", folder=Path("runs/a"), holder={"host": "here", "pid": "1"}),
    DamagedFile("cut off", file=Path("run.json"), place=3),
    UntrustedCode("foreign", names=["my_module:MyCore"]),
    Diverged("not finite", step=7),
    EnvFailed("raised", env="CartPole-v1", row=1, seed=2, step=3, agent="cow_0"),
]


def error_classes():
    """The exceptions that the modules of badger define."""
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(badger.__path__, "badger.")]
    found = [cls for module in modules for _, cls in inspect.getmembers(module, inspect.isclass)]
    return {cls for cls in found if issubclass(cls, BaseException) and cls.__module__.startswith("badger.")}


def test_every_error_of_badger_is_a_badger_error():
    allowed = BadgerError | SystemExit | KeyboardInterrupt | Warning
    wrong = [cls for cls in error_classes() if not issubclass(cls, allowed)]
    assert len(error_classes()) >= len(EXAMPLES) and not wrong


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_keeps_its_message_and_attributes_when_it_is_pickled(error):
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)


def test_a_failed_environment_is_an_error_of_both_families():
    assert issubclass(EnvFailed, BadgerError) and issubclass(EnvFailed, EnvError)
