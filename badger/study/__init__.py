"""Studies: evidence with error bars that anyone can gather again with one command.

A `Study` says which arms are compared and what is looked at; `run` trains arms x seeds, from wherever it was stopped;
`write` reports. `badger study NAME` does both, `badger compare RUN ...` reports of any runs.
"""

from badger.study.report import report, write
from badger.study.results import Evidence, Outcome
from badger.study.run import run
from badger.study.studies import STUDIES
from badger.study.study import Arm, Quick, Study, find

__all__ = ["STUDIES", "Arm", "Evidence", "Outcome", "Quick", "Study", "find", "report", "run", "write"]
