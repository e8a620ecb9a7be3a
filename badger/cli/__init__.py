"""The command line: `badger COMMAND ...` or `python -m badger COMMAND ...`.

main.py       dispatches the commands; `badger bench` and `badger list`; how an error ends a command
train.py      badger train, badger resume, and the summary when training has ended
evaluate.py   badger evaluate: scores on episodes that training never met
grid.py       badger evaluate --grid: a table and heat maps over sizes
study.py      badger study, badger compare
loading.py    how a command loads a run folder, and --trust-code
usage.py      the usage line of a command with missing words
"""
