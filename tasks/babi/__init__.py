r"""The bAbI tasks: 20 kinds of questions about short stories, read and answered word by word (Weston et al. 2015).

- `tasks.babi.task`: `BAbI`, the task.
- `tasks.babi.files`: the data set: folders, splits, checksums, and questions as tensors.
- `tasks.babi.parse`: the file format and the vocabulary of 158 words.
- `tasks.babi.baselines`: scores of chance and of the commonest answer, and the error of each task.

The files are looked for in the folder given, then in `$BADGER_DATA`, and are downloaded if there are none
(`pip install 'badger-agents[data]'`).

```python
from tasks.babi.parse import WORDS, stories

text = "1 Mary went to the kitchen.\n2 Where is Mary?\tkitchen\t1\n"
(story,) = stories(text, "example")
assert [WORDS[number] for number in story[0].answer] == ["kitchen"]
```
"""
