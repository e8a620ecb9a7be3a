"""Processes of studies' jobs that are forked, not started anew, which would take seconds of CPU each for imports."""

import os
from multiprocessing.connection import Connection

from badger.study.execution import child, jobs


class ForkedChild:
    """In place of the `subprocess.Popen` of a job.

    Args:
        context: of multiprocessing, "fork" or "forkserver".
    """

    def __init__(self, context):
        read_call, write_call = os.pipe()
        read_answer, write_answer = os.pipe()
        ours = (write_call, read_answer) if context.get_start_method() == "fork" else ()
        theirs = Connection(read_call, writable=False), Connection(write_answer, readable=False)
        self._process = context.Process(target=_enter, args=(*theirs, ours))
        self._process.start()
        for connection in theirs:
            connection.close()
        self.stdin, self.stdout = os.fdopen(write_call, "wb"), os.fdopen(read_answer, "rb")

    def wait(self):
        self._process.join()
        return self._process.exitcode

    def kill(self):
        self._process.kill()


def patch_children(patch, context):
    """Jobs of studies run in forked processes, within a `pytest.MonkeyPatch` or without end."""
    patch.setattr(jobs, "start_child", lambda command: ForkedChild(context))


def _enter(source, answer, inherited):
    os.setsid()
    for descriptor in inherited:  # the parent's ends of the pipes
        os.close(descriptor)
    child.serve(os.fdopen(os.dup(source.fileno()), "rb"), os.fdopen(os.dup(answer.fileno()), "wb"))
