r"""Studies: reproducible comparisons of arms over several seeds, with error bars.

A `Study` defines the arms and the score by which they are compared. `badger study NAME` trains the missing runs and
writes a report; `badger compare RUN ...` writes the same report for any runs.

- `badger.study.study`: `Study`, `Arm`, `QuickOverrides`.
- `badger.study.studies`: the studies by name; further ones in `badger.study.studies_memory`,
  `badger.study.studies_rl`, `badger.study.studies_external`, `badger.study.recordings`.
- `badger.study.simulations`: studies that train no network, such as `tree-mdp`.
- `badger.study.run`: runs a study. `badger.study.trial`: one run of it. `badger.study.execution`: its processes.
- `badger.study.compare`: results of any run folders. `badger.study.results`: results as dataclasses.
- `badger.study.statistics`: interquartile means, bootstrap intervals, probability of improvement.
- `badger.study.published`: published results and ours, with verdicts.
- `badger.study.report`: the Markdown report, with `badger.study.tables` and `badger.study.plots`.

```python
from badger.study import STUDIES

study = STUDIES["memory-helps"]
print(study.claim, *study.arms, sep="\n")
```
"""

from badger.study.results import StudyResults, TrialResult
from badger.study.studies import STUDIES, find_study
from badger.study.study import Arm, QuickOverrides, Study

__all__ = ["STUDIES", "Arm", "QuickOverrides", "Study", "StudyResults", "TrialResult", "find_study"]
