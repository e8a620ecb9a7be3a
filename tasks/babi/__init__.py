"""bAbI: 20 tasks of question answering over short stories (Weston et al. 2015).

task.py        `BAbI`, the task: a story and a question word by word, then the answer
files.py       where the files are, splits, and questions as tensors
parse.py       the text format and the vocabulary
baselines.py   chance, the commonest answer, and errors task by task
"""
