"""Studies: evidence with error bars that anyone can gather again with one command.

A `Study` says which arms are compared and what is looked at. `badger study NAME` trains arms x seeds, from wherever it
was stopped, and reports; `badger compare RUN ...` reports of any runs.

study.py         what a study is: `Study`, `Arm`, `QuickOverrides`
studies.py       the project's own, by name; studies_memory.py, studies_rl.py, studies_external.py: more of them
run.py           `run` trains and evaluates what is missing; trial.py: one run of it; process_pool.py: side by side
compare.py       evidence from any run folders
results.py       what runs have shown; statistics.py: intervals of it
report.py        `report` and `write`: Markdown with tables.py and plots.py
"""

from badger.study.results import StudyResults, TrialResult
from badger.study.studies import STUDIES, find_study
from badger.study.study import Arm, QuickOverrides, Study

__all__ = ["STUDIES", "Arm", "QuickOverrides", "Study", "StudyResults", "TrialResult", "find_study"]
