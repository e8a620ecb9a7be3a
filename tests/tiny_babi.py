"""Files in the format of bAbI with a few random stories, and a plain reader."""

import random
from pathlib import Path

PEOPLE, PLACES = ("Mary", "John", "Sandra", "Daniel"), ("kitchen", "garden", "office", "hallway")
STORIES = {"train": 4, "valid": 2, "test": 3}


def line(draw: random.Random) -> str:
    return f"{draw.choice(PEOPLE)} {draw.choice(['went back to', 'moved to', 'left'])} the {draw.choice(PLACES)}."


def story(task: int, draw: random.Random) -> list[str]:
    """Lines with their numbers; each of one to three questions comes after some sentences."""
    story_lines, number = [], 0
    for _ in range(draw.randint(1, 3)):
        for _ in range(draw.randint(1, 2)):
            number += 1
            story_lines.append(f"{number} {line(draw)}")
        number += 1
        words = draw.randint(1, 3) if task == 8 else 2 if task == 19 else 1
        answer = ",".join(draw.choices(["n", "s", "e", "w"] if task == 19 else PLACES, k=words))
        story_lines.append(f"{number} Where is {draw.choice(PEOPLE)}? \t{answer}\t{max(1, number - 1)}")
    return story_lines


def text(task: int, part: str, stories: int) -> str:
    draw = random.Random(f"{task} {part}")
    return "".join(f"{one}\n" for _ in range(stories) for one in story(task, draw))


def write(root: Path, folder: str = "en-valid-10k", tasks=range(1, 21), stories=STORIES) -> Path:
    """All three files of each task."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    for task in tasks:
        for part, count in stories.items():
            (root / folder / f"qa{task}_{part}.txt").write_text(text(task, part, count))
    return root


def words(sentence: str) -> list[str]:
    return sentence.lower().replace(".", " .").replace("?", " ?").split()


def by_hand(path: Path) -> list[tuple[list[str], list[str]]]:
    """What is read and what is answered: for each question, from the lines back to the one of number 1."""
    lines, found = path.read_text().splitlines(), []
    for place, asked in enumerate(lines):
        if "\t" not in asked:
            continue
        begin = max(n for n in range(place + 1) if lines[n].startswith("1 "))
        story_lines = [one for one in lines[begin:place] if "\t" not in one]
        question, answer, _ = asked.split("\t")
        read = [word for one in [*story_lines, question] for word in words(one.split(" ", 1)[1])]
        found.append((read + ["-"] * len(answer.split(",")), answer.split(",")))
    return found
