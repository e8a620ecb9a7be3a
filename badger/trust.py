"""Files from strangers: which may be opened, and the check of the code that they name.

Run folders, study folders and reports are data, not programs.

**What may be opened.** `badger evaluate`, `record`, `resume`, `inspect` and `compare`, and `badger.load_run`, read a
run folder from anywhere and execute nothing but this library and the installed environment libraries in
`tasks.adapters.named_imports.ENV_LIBRARIES`:

- JSON files are parsed and their types are checked; a wrong one is a `badger.errors.DamagedFile` that names the file
  and the field.
- Checkpoints hold tensors and plain types, and are read with `weights_only=True`: no pickled object is created.
- A file may name code in three ways: `module:name` (a recipe, a part, an option of a part), `package:Env-v0` of
  Gymnasium, and a module of PettingZoo, `package.module`. If that is neither registered here nor in one of the
  environment libraries, it is refused before anything is built, by a `badger.errors.UntrustedCode` with all such names
  and the command that allows them: `--trust-code`, or `badger.load_run(folder, trusted=("my_module",))`. Names that you
  type need neither.
- Recorded episodes (`badger inspect data.h5`, `badger train offline --data data.h5`) are arrays and texts; the name of
  an environment in them that is code of others is refused.
- `badger compare` and reports read JSON alone, and need no flag.

**What may not.**

- `--trust-code`, or `trusted=`, for a folder whose author you would not give a shell.
- `python -m badger`, an interpreter or a notebook started *in* a folder from a stranger: Python itself puts the current
  directory first on its path, and a `random.py` there is executed. The script `badger` does not; it appends the current
  directory to the end of the path, once you name or trust a module that is found nowhere else. In the processes that it
  starts `PYTHONSAFEPATH` is set, which Python 3.10 ignores: there, start `badger` in a folder of your own.
- `matplotlibrc` in the current directory: matplotlib reads it before any other settings.
- Links: commands that write (`resume`, and the pictures of `evaluate` and `inspect`) follow symbolic links in the
  folder.
- What other programs do with the files: `tensorboard --logdir`, a spreadsheet, a terminal that prints a file.
- Resources: a file may ask for an agent that is larger than your memory.

```python
from badger.errors import UntrustedCode
from badger.trust import check_trusted, code_names

names = code_names("subprocess:getoutput", {"cmd": "echo", "core": "gru"}, {})
try:
    check_trusted(names, (), "runs/theirs/run.json")
except UntrustedCode as error:
    assert error.names == ("subprocess:getoutput",)
```
"""

import json
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from badger.errors import UntrustedCode
from tasks.adapters.named_imports import ALL as ALL
from tasks.adapters.named_imports import is_env_library, is_trusted, only_trusted

COLON = re.compile(r"[^\W\d][\w.-]*:[^\W\d][\w./-]*")
"""`module:name`, and `package:Env-v0` of Gymnasium."""
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
"""`package.module`."""


def code_names(recipe: str | None, *arguments: Mapping[str, Any]) -> list[str]:
    """The strings in the description of a run that name code and need trust; imports none of it.

    Args:
        recipe: name of the recipe.
        arguments: of the recipe, and its defaults.

    Raises:
        ValueError: an argument is nested too deeply to be searched.
    """
    names = [recipe] if recipe and ":" in recipe else []
    for items in arguments:
        for key, value in items.items():
            try:
                names += _env_names(recipe, value) if key == "env" and isinstance(value, str) else _names(value, COLON)
            except RecursionError as error:
                raise ValueError(f"{key} is nested too deeply: it cannot be searched for names of code") from error
    return list(dict.fromkeys(names))


def modules(names: Iterable[str]) -> tuple[str, ...]:
    """The modules of names, without duplicates.

    Args:
        names: from `code_names`.
    """
    return tuple(dict.fromkeys(name.partition(":")[0] for name in names))


def check_trusted(names: Collection[str], trusted: Collection[str], source: object) -> None:
    """Refuses names of code that were read from a file, except those in trusted modules.

    Args:
        names: from `code_names`.
        trusted: names of modules, each with its sub-modules; `"*"`: all.
        source: the file, for the message.

    Raises:
        UntrustedCode: a name is not trusted; the message says how to allow it.
    """
    untrusted = [name for name in names if not is_trusted(name.partition(":")[0], trusted)]
    if untrusted:
        raise _refusal(untrusted, trusted, source)


def reading(source: object, trusted: Collection[str]) -> AbstractContextManager[None]:
    """Context in which something is built from a file: it imports trusted modules and environment libraries only.

    Args:
        source: the file, for the message.
        trusted: as for `check_trusted`.
    """

    def refusal(name: str) -> Exception:
        return _refusal([name], trusted, source)

    return only_trusted(trusted, refusal)


def _refusal(names: Collection[str], trusted: Collection[str], source: object) -> UntrustedCode:
    allowed = (*trusted, *(module for module in modules(names) if module not in trusted))
    return UntrustedCode(
        f"{source} refers to foreign code, {', '.join(map(repr, names))}; loading it would execute that code. "
        f"If you trust it, add --trust-code to the command, or trusted={allowed!r} to the call of badger.load_run",
        names=tuple(names),
    )


def _env_names(recipe: str | None, env: str) -> list[str]:
    """The argument `env`, if it names code: an id of Gymnasium without a package does not."""
    module, colon, _ = env.partition(":")
    is_module = recipe == "pettingzoo" or (recipe != "gymnasium" and DOTTED.fullmatch(env))
    return [env] if env and (colon or is_module) and not is_env_library(module) else []


def _names(value: Any, *patterns: re.Pattern[str]) -> Iterator[str]:
    """Strings of these forms in a JSON value, and of all forms in what is nested in it, also as JSON in a string."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _names(key, COLON)
            yield from _nested_names(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _nested_names(item)
    elif isinstance(value, str):
        if any(pattern.fullmatch(value) for pattern in patterns):
            yield value
        yield from _names(_parsed(value), COLON, DOTTED)


def _nested_names(value: Any) -> Iterator[str]:
    return (name for name in _names(value, COLON, DOTTED) if not is_env_library(name.partition(":")[0]))


def _parsed(text: str) -> Any:
    """The list, object or string that a text has as JSON; else None."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list | dict | str) else None
