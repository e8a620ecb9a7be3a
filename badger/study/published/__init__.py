"""Published results and ours: `badger study reproduce --report` prints all of them, `reproduce NAME` runs one again.

- `badger.study.published.entries`: the published figures and claims, by name.
- `badger.study.published.entry`: one of them, with our estimate and the verdict.
- `badger.study.published.kept_results`: results of studies as small JSON files, which are kept in the repository.
- `badger.study.published.unfinished`: trainings that are kept unfinished, and resumed by `reproduce NAME`.
- `badger.study.published.report`: the table and the chart.

```python
from badger.study.published import PUBLISHED, collect_kept, published_table

entries = [PUBLISHED["load-unload"], PUBLISHED["i-maze-frmqn"]]
print(published_table(entries, collect_kept(entries)))
```
"""

from badger.study.published.entries import PUBLISHED
from badger.study.published.entry import PublishedResult
from badger.study.published.report import collect_kept, published_table

__all__ = ["PUBLISHED", "PublishedResult", "collect_kept", "published_table"]
