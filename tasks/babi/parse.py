"""The text of bAbI: its words, and how a file is read (Weston et al. 2015, arXiv:1502.05698).

A line is `number sentence.`, or `number question?<tab>answer<tab>facts`; number 1 begins a new story.
"""

import re
from typing import NamedTuple

_WORDS = """
    a above afraid after afternoon afterwards and antoine apple are back bathroom bedroom before below bernhard bigger
    bill blue bored box brian carrying cat cats chest chocolate chocolates cinema color container daniel did discarded
    do does down dropped e east either emily evening fit fits following football fred frog from garden gave gertrude get
    give go got grabbed gray green greg hallway handed he how hungry in inside is jason jeff jessica john journeyed
    julie julius kitchen left lily lion longer many mary maybe mice milk morning mouse moved n no none north not nothing
    objects of office one or pajamas park passed picked pink put received rectangle red rhino right s sandra school she
    sheep south sphere square suitcase sumit swan than that the then there they thirsty this three tired to took
    travelled triangle two up w was went west what where white who why will winona wolf wolves yann yellow yes yesterday
    you
"""
WORDS = (*_WORDS.split(), ".", "?")
"""All that the 20 tasks are written in, 158: in lower case, two signs among them, and answers taken word by word."""
PLACEHOLDER = len(WORDS)  # the number of the placeholder, which is shown where an answer is due
_NUMBERS = {word: number for number, word in enumerate(WORDS)}


class Question(NamedTuple):
    """A byte a word: what is read (the story so far, the question, a placeholder for each word of the answer), and
    the answer."""

    read: bytes
    answer: bytes


Story = tuple[Question, ...]


def stories(text: str, name: str) -> list[Story]:
    """The stories of a file, each its questions; what was told before a question is told again for the next.

    Raises:
        ValueError: the file is not in the format, or cut off; says which file (`name`) and line, and what was wanted.
    """
    lines, known = text.split("\n"), dict[str, bytes]()  # sentences come again and again
    if lines.pop():
        raise ValueError(f"{name}, line {len(lines) + 1}: ends without a line break, it is cut off; fetch it anew")
    found: list[list[Question]] = []
    number, told, asked = 0, b"", False
    for line, held in enumerate(lines, 1):
        head, _, rest = held.partition(" ")
        if head == "1":
            found.append([])
            told = b""
        elif not number or head != str(number + 1):
            after = f"{number + 1} or " if number else ""
            raise ValueError(f"{name}, line {line}: begins with {head[:20]!r}, want {after}1, which begins a story")
        number = int(head)
        sentence, *more = rest.split("\t")
        asked = bool(more)
        if sentence not in known:
            known[sentence] = _numbered(sentence, "?" if asked else ".", f"{name}, line {line}")
        if not asked:
            told += known[sentence]
            continue
        answer = _answer(more, f"{name}, line {line}")
        found[-1].append(Question(told + known[sentence] + bytes([PLACEHOLDER]) * len(answer), answer))
    if not asked:
        raise ValueError(f"{name}, line {len(lines)}: want a question at the end of the last story; fetch it anew")
    return [tuple(story) for story in found]


def _numbered(sentence: str, end: str, where: str) -> bytes:
    words = re.findall(r"[^\s.?]+|[.?]", sentence.lower())
    if words[-1:] != [end]:
        raise ValueError(f"{where}: {sentence[:60]!r}, want a sentence that ends with {end!r}")
    return _encode_words(words, where)


def _answer(fields: list[str], where: str) -> bytes:
    if len(fields) != 2 or not fields[0]:
        raise ValueError(
            f"{where}: want question, answer and its facts with tabs between; behind the question is {fields}"
        )
    return _encode_words(fields[0].lower().split(","), where)


def _encode_words(words: list[str], where: str) -> bytes:
    for word in words:
        if word not in _NUMBERS:
            raise ValueError(f"{where}: {word[:20]!r} is none of the {len(WORDS)} words of bAbI's English tasks")
    return bytes(_NUMBERS[word] for word in words)
