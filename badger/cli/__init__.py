"""The command line: `badger COMMAND ...` or `python -m badger COMMAND ...`.

- `badger.cli.main`: dispatches the commands; `badger bench`, `badger list`; exit codes.
- `badger.cli.train`: `badger train` and `badger resume`, and the summary after training.
- `badger.cli.evaluate`: `badger evaluate`. `badger.cli.grid`: its option `--grid`.
- `badger.cli.study`: `badger study` and `badger compare`.
- `badger.cli.loading`: loads a run folder; the option `--trust-code`.
- `badger.cli.usage`: usage lines.
"""
