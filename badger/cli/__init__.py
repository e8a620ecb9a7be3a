"""The command line: `badger COMMAND ...`.

`python -m badger COMMAND ...` is the same in a folder of your own; in one from a stranger it executes files that are
there (`badger.trust`).

- `badger.cli.main`: dispatches the commands; `badger list`; exit codes.
- `badger.cli.train`: `badger train` and `badger resume`, and the summary after training.
- `badger.cli.evaluate`: `badger evaluate`. `badger.cli.grid`: its option `--grid`.
- `badger.cli.episodes`: `badger record`, and `badger inspect` of a data set.
- `badger.cli.studies`: `badger study`, `badger study reproduce` and `badger compare`.
- `badger.cli.loading`: loads a run folder; the option `--trust-code`.
- `badger.cli.bench`: `badger bench`. `badger.cli.solve`: `badger solve`.
- `badger.cli.usage`: wrong command lines, with exit code 2; parsing of flags; usage lines.
- `badger.cli.typed`: flags as they were typed, and errors that name them. `badger.cli.paths`: checks of output paths.
- `badger.cli.user_code`: where a user's own modules are found.
"""
