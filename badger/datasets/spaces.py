"""Action spaces as JSON, for files of recorded episodes."""

import json
from typing import Any

from tasks import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete


def space_to_json(space: ActionSpace) -> str:
    """An action space as a JSON object; an infinite bound is null.

    Args:
        space: any of the four.
    """
    return json.dumps(_describe(space))


def space_from_json(text: str) -> ActionSpace:
    """The action space that `space_to_json` has written.

    Args:
        text: JSON.

    Raises:
        ValueError: it is none.
    """
    try:
        return _build(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{text!r} is no action space") from error


def _describe(space: ActionSpace) -> dict[str, Any]:
    if isinstance(space, Discrete):
        return {"kind": "Discrete", "n": space.n}
    if isinstance(space, MultiDiscrete):
        return {"kind": "MultiDiscrete", "nvec": list(space.nvec)}
    if isinstance(space, Continuous):
        low, high = (None if abs(bound) == float("inf") else bound for bound in (space.low, space.high))
        return {"kind": "Continuous", "size": space.size, "low": low, "high": high}
    return {"kind": "Mixed", "choices": _describe(space.choices), "numbers": _describe(space.numbers)}


def _build(value: dict[str, Any]) -> ActionSpace:
    kind = value["kind"]
    if kind == "Discrete":
        return Discrete(_size(value["n"]))
    if kind == "MultiDiscrete":
        return MultiDiscrete(tuple(map(_size, value["nvec"])))
    if kind == "Continuous":
        low, high = value["low"], value["high"]
        return Continuous(
            _size(value["size"]), float("-inf" if low is None else low), float("inf" if high is None else high)
        )
    choices, numbers = _build(value["choices"]), _build(value["numbers"])
    if kind != "Mixed" or not isinstance(choices, MultiDiscrete) or not isinstance(numbers, Continuous):
        raise ValueError(kind)
    return Mixed(choices, numbers)


def _size(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise ValueError(value)
    return value
