r"""Studies: arms x seeds with error bars, which anyone can repeat with one command.

A `Study` says which arms are compared, and by which score. `badger study NAME` trains what is missing and reports;
`badger compare RUN ...` reports on any runs.

- `badger.study.study`: `Study`, `Arm`, `QuickOverrides`.
- `badger.study.studies`: the studies by name; further ones in `badger.study.studies_memory`,
  `badger.study.studies_rl`, `badger.study.studies_external`.
- `badger.study.run`: trains and evaluates. `badger.study.trial`: one run of it. `badger.study.process_pool`: several.
- `badger.study.compare`: results of any run folders. `badger.study.results`: results as values.
- `badger.study.statistics`: interquartile means, bootstrap intervals, probability of improvement.
- `badger.study.report`: Markdown, with `badger.study.tables` and `badger.study.plots`.

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
