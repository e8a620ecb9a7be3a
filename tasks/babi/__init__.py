r"""The bAbI tasks: 20 kinds of questions about short stories, read and answered word by word (Weston et al. 2015).

- `tasks.babi.task`: `BAbI`, the task.
- `tasks.babi.files`: the data set: folders, splits, checksums, and questions as tensors.
- `tasks.babi.parse`: the file format and the vocabulary of 158 words.
- `tasks.babi.simulator`: simulated stories of task 3, whose training file some copies lack.
- `tasks.babi.baselines`: scores of chance and of the most common answer, and the error of each task.

Files are searched in the given folder and then in `$BADGER_DATA`; if there are none they are downloaded
(`pip install 'badger-agents[data]'`).

```python
from tasks.babi.parse import WORDS, parse_stories

text = "1 Mary went to the kitchen.\n2 Where is Mary?\tkitchen\t1\n"
(story,) = parse_stories(text, "example")
assert [WORDS[word] for word in story[0].answer] == ["kitchen"]
```
"""
