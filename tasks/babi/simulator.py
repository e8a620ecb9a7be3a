"""Simulated stories of bAbI's task 3, three supporting facts: people carry objects through rooms.

For where the training file is missing. The rules are those that the 1,000 published training questions show: who acts
is drawn in each step; a person may only take what lies in the room, and drop what is held. A question may come after
every second action. It is about the object that was dropped, or carried on, last, if that was not long ago, and if it
was carried into two rooms or more since it was taken: where was it before one of them?
"""

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field

from tasks.babi.parse import Question, Story, parse_stories

PEOPLE = ("Mary", "Sandra", "Daniel", "John")
ROOMS = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
OBJECTS = ("apple", "football", "milk")
MOVE, TAKE, DROP = (
    ("moved to", "journeyed to", "went to", "went back to", "travelled to"),
    ("got", "took", "grabbed", "picked up"),
    ("dropped", "left", "discarded", "put down"),
)
TASK, QUESTIONS = 3, 5
"""The number of the task, and the questions of a story."""
DROP_SHARE, TAKE_SHARE, THERE_SHARE = 0.53, 0.66, 0.2
"""How often what is held is dropped, what is in reach is taken, and "there" is said, measured on the training file."""
ASKED_DROPPED, ASKED_HELD = (10, 1.0), (3, 0.2)
"""Sentences after which an object is not asked for any more, and how often it is before, measured on the same file."""


@dataclass
class _World:
    """Where everybody and everything is, and the numbers of the sentences that say so."""

    rng: random.Random
    at: dict[str, str] = field(default_factory=dict)  # person or object -> room
    holder: dict[str, str] = field(default_factory=dict)  # object -> person
    event: dict[str, int] = field(default_factory=dict)  # object -> sentence in which it was last taken or dropped
    carried: dict[str, list[tuple[str, int]]] = field(default_factory=dict)  # object -> rooms since it was taken

    def __post_init__(self) -> None:
        self.at = {name: self.rng.choice(ROOMS) for name in PEOPLE + OBJECTS}

    def act(self, number: int) -> str:
        """One sentence, whose number is given."""
        rng, person = self.rng, self.rng.choice(PEOPLE)
        held = [thing for thing in OBJECTS if self.holder.get(thing) == person]
        near = [thing for thing in OBJECTS if thing not in self.holder and self.at[thing] == self.at[person]]
        if held and rng.random() < DROP_SHARE:
            return self._handle(person, rng.choice(held), DROP, number)
        if near and rng.random() < TAKE_SHARE:
            return self._handle(person, rng.choice(near), TAKE, number)
        room = rng.choice([room for room in ROOMS if room != self.at[person]])
        for name in (person, *held):
            self.at[name] = room
        for thing in held:
            self.carried[thing].append((room, number))
        return f"{person} {rng.choice(MOVE)} the {room}."

    def _handle(self, person: str, thing: str, verbs: tuple[str, ...], number: int) -> str:
        self.event[thing] = number
        if verbs is TAKE:
            self.holder[thing], self.carried[thing] = person, []
        else:
            del self.holder[thing]
        there = " there" if self.rng.random() < THERE_SHARE else ""
        return f"{person} {self.rng.choice(verbs)} the {thing}{there}."

    def ask(self, number: int) -> str | None:
        """A question after the sentence of this number, with answer and supporting facts; None: there is none."""
        moved = {thing: path for thing, path in self.carried.items() if len(path) > 1}
        if not moved:
            return None
        latest = {thing: max(self.event[thing], path[-1][1]) for thing, path in moved.items()}
        thing = max(moved, key=latest.__getitem__)
        sentences, share = ASKED_HELD if thing in self.holder else ASKED_DROPPED
        if number - latest[thing] > sentences or self.rng.random() > share:
            return None
        path = moved[thing]
        last_visits = [i for i in range(1, len(path)) if path[i][0] not in {room for room, _ in path[i + 1 :]}]
        i = self.rng.choice(last_visits)
        (before, first), (room, second) = path[i - 1], path[i]
        return f"Where was the {thing} before the {room}? \t{before}\t{self.event[thing]} {second} {first}"


def simulate_text(stories: int, seed: int) -> str:
    """Stories in the format of a file of bAbI, with five questions each.

    Args:
        stories: their number.
        seed: of the random generator.
    """
    rng = random.Random(seed)
    return "".join(f"{number} {line}\n" for _ in range(stories) for number, line in enumerate(_story(rng), 1))


def _story(rng: random.Random) -> Iterator[str]:
    world, number, asked = _World(rng), 0, 0
    while asked < QUESTIONS:
        for _ in range(2):
            number += 1
            yield world.act(number)
        question = world.ask(number)
        if question is not None:
            number, asked = number + 1, asked + 1
            yield question


def check_simulated(simulated: int, tasks: Collection[int]) -> None:
    """Refuses a number of simulated questions that cannot be.

    Args:
        simulated: their number.
        tasks: the tasks of bAbI to which they are added.

    Raises:
        ValueError: no multiple of five, or task 3 is not among the tasks.
    """
    if simulated < 0 or simulated % QUESTIONS:
        raise ValueError(f"simulated={simulated}, want a multiple of {QUESTIONS}, the questions of a story; 0: none")
    if simulated and TASK not in tasks:
        raise ValueError(
            f"simulated={simulated}, want 0: they are of task {TASK}, which is not in tasks={tuple(tasks)}"
        )


def simulate_stories(questions: int, seed: int, exclude: Collection[Question]) -> tuple[list[Story], int]:
    """Simulated stories without given questions, and how many of these were removed.

    Args:
        questions: their number, before any is removed; a multiple of five.
        seed: of the random generator.
        exclude: questions that must not be among them, with their stories, such as those of the test file.

    """
    held_out = set(exclude)
    stories = parse_stories(simulate_text(questions // QUESTIONS, seed), "simulated stories of task 3")
    kept = [tuple(question for question in story if question not in held_out) for story in stories]
    return [story for story in kept if story], questions - sum(map(len, kept))
