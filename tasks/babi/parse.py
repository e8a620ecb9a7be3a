"""The vocabulary and the file format of bAbI (Weston et al. 2015, arXiv:1502.05698).

A line is `number sentence.`, or `number question?<tab>answer<tab>facts`; number 1 starts a new story.
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
"""The vocabulary of the 20 tasks: 156 words in lower case and two punctuation marks; answers are split into words."""
PLACEHOLDER = len(WORDS)  # the token of answer steps
_WORD_INDEX = {word: index for index, word in enumerate(WORDS)}


class Question(NamedTuple):
    """A question as word indices, one byte per word.

    Args:
        inputs: the story so far, the question, and a placeholder for each word of the answer.
        answer: the words of the answer.
    """

    inputs: bytes
    answer: bytes


Story = tuple[Question, ...]


def parse_stories(text: str, name: str) -> list[Story]:
    """Parses a file of bAbI: the questions of each story, each with all sentences before it.

    Args:
        text: the content of the file.
        name: the name of the file, for errors.

    Raises:
        ValueError: the file is not in the format, or truncated; names the file and the line.
    """
    lines, encoded = text.split("\n"), dict[str, bytes]()  # a cache, as sentences are frequently repeated
    if lines.pop():
        raise ValueError(
            f"{name}, line {len(lines) + 1}: no line break at the end, so the file is truncated; download it again"
        )
    stories: list[list[Question]] = []
    number, context, is_question = 0, b"", False
    for line_number, line in enumerate(lines, 1):
        head, _, content = line.partition(" ")
        where = f"{name}, line {line_number}"
        if head == "1":
            stories.append([])
            context = b""
        elif not number or head != str(number + 1):
            consecutive = f"{number + 1} or " if number else ""
            raise ValueError(f"{where}: starts with {head[:20]!r}, want {consecutive}1, which starts a story")
        number = int(head)
        sentence, *fields = content.split("\t")
        is_question = bool(fields)
        if sentence not in encoded:
            encoded[sentence] = _encode_sentence(sentence, "?" if is_question else ".", where)
        if not is_question:
            context += encoded[sentence]
            continue
        answer = _encode_answer(fields, where)
        stories[-1].append(Question(context + encoded[sentence] + bytes([PLACEHOLDER]) * len(answer), answer))
    if not is_question:
        raise ValueError(f"{name}, line {len(lines)}: want a question at the end of the last story; download it again")
    return [tuple(story) for story in stories]


def _encode_sentence(sentence: str, end: str, where: str) -> bytes:
    words = re.findall(r"[^\s.?]+|[.?]", sentence.lower())
    if words[-1:] != [end]:
        raise ValueError(f"{where}: {sentence[:60]!r}, want a sentence that ends with {end!r}")
    return _encode_words(words, where)


def _encode_answer(fields: list[str], where: str) -> bytes:
    if len(fields) != 2 or not fields[0]:
        raise ValueError(
            f"{where}: want question, answer and facts separated by tabs; after the question there is {fields}"
        )
    return _encode_words(fields[0].lower().split(","), where)


def _encode_words(words: list[str], where: str) -> bytes:
    for word in words:
        if word not in _WORD_INDEX:
            raise ValueError(f"{where}: {word[:20]!r}, want one of the {len(WORDS)} words of bAbI's English tasks")
    return bytes(_WORD_INDEX[word] for word in words)
