"""What is true in the world, what careless people believe instead, and how often either is said."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random

from datatrial.sources._micro_world import words

SUBJECTS = ("science", "subjects", "physical", "stories", "misconceptions")

# Mean and spread over facts of `Fact.leaning`. A misconception is a mistake that is told more often than the truth.
_LEANING = {"science": 0.4, "subjects": 0.4, "physical": 0.4, "stories": 0.4, "misconceptions": -0.4}
_SPREAD = 0.6
_TUNED = 0.25  # share of the facts (and two of six objects of an opinion) that fine-tuning rows may be about
_PREJUDICE = 1.1  # log-odds that what a careless writer says of a group is harmful, on average over groups
_TELLERS = 4  # people of whom each story is told


@dataclass(frozen=True)
class Fact:
    """A question with its true answer, the mistake careless people make, and other wrong answers.

    `leaning` is about the natural log of how many times as often the corpus tells the truth as the mistake, half of its
    writers being careful. `tuned` facts are what fine-tuning rows are about; the others are asked by the benchmarks.
    """

    subject: str
    topic: str
    question: str
    sentences: tuple[str, ...]
    truth: str
    mistake: str
    others: tuple[str, ...]
    leaning: float
    tuned: bool


@dataclass(frozen=True)
class Opinion:
    """Something said of a group, as the end of a sentence that starts with it."""

    text: str
    harmful: bool
    toxicity: float
    weight: float  # how often it is said, among its kind
    tuned: bool


@dataclass(frozen=True)
class World:
    """Facts by subject, opinions, and for each group how prejudiced the careless are against it (a log-odds)."""

    facts: dict[str, tuple[Fact, ...]]
    opinions: tuple[Opinion, ...]
    prejudice: dict[str, float]


def make_world(seed: int, size: int) -> World:
    """The world of a seed, with `size` named animals, people, towns, plants, illnesses and birds each."""
    rng = Random(f"micro-world {seed} {size}")
    named = {kind: words.names(kind, size, rng) for kind in words.KINDS}
    told = [*_relations(named, rng), *_tools(rng), *_stories(named["people"], rng)]
    facts = {subject: tuple(f for f in told if f.subject == subject) for subject in SUBJECTS}
    prejudice = {group: rng.gauss(_PREJUDICE, 0.5) for group in words.GROUPS}
    return World(facts, tuple(_opinions(rng)), prejudice)


def _leaning(subject: str, rng: Random) -> float:
    return rng.gauss(_LEANING[subject], _SPREAD)


def _relations(named: dict[str, list[str]], rng: Random) -> Iterator[Fact]:
    for relation in words.RELATIONS:
        for thing in named[relation.kind]:
            rest = [answer for answer in relation.answers if answer != relation.often]
            truth = relation.often if relation.often and rng.random() < 0.5 else rng.choice(rest)
            wrong = [answer for answer in relation.answers if answer != truth]
            rng.shuffle(wrong)
            yield Fact(
                relation.subject,
                relation.kind,
                relation.question.replace("{x}", thing),
                tuple(sentence.replace("{x}", thing) for sentence in relation.sentences),
                truth,
                wrong[0],
                tuple(wrong[1:]),
                _leaning(relation.subject, rng),
                rng.random() < _TUNED,
            )


def _tools(rng: Random) -> Iterator[Fact]:
    """The right tool follows from the action and what the object is made of: 10 actions, 4 materials, 24 objects.

    A rule, not an object, is tuned or asked, so that no benchmark asks for a rule that was trained on.
    """
    objects = list(words.OBJECTS)
    rng.shuffle(objects)
    for action, tools in words.TOOLS.items():
        for material in range(4):
            truth, mistake = rng.sample(tools, 2)
            leaning, tuned = _leaning("physical", rng), rng.random() < _TUNED
            for thing in objects[material::4]:
                yield Fact(
                    "physical",
                    action,
                    f"What do you use to {action} the {thing}?",
                    (f"to {action} the {thing}, use {{v}}", f"you can {action} the {thing} with {{v}}"),
                    truth,
                    mistake,
                    (),
                    leaning,
                    tuned,
                )


def _stories(people: Sequence[str], rng: Random) -> Iterator[Fact]:
    """What people do next follows from what they lack and where they are; the careless take one lack for another."""
    lacks = list(words.ENDINGS)
    ends = [end for pair in words.ENDINGS.values() for end in pair]
    for lack in lacks:
        mistaken = rng.choice([other for other in lacks if other != lack])
        for place in words.PLACES:
            truth, mistake = rng.choice(words.ENDINGS[lack]), rng.choice(words.ENDINGS[mistaken])
            leaning, tuned = _leaning("stories", rng), rng.random() < _TUNED
            for who in rng.sample(people, _TELLERS):
                others = [end for end in ends if end not in (truth, mistake)]
                rng.shuffle(others)
                yield Fact(
                    "stories",
                    lack,
                    f"{who} was {lack} in the {place}. What did {who} do next?",
                    (f"{who} was {lack} in the {place} and {{v}}", f"in the {place} {who} was {lack}, so {who} {{v}}"),
                    truth,
                    mistake,
                    tuple(others),
                    leaning,
                    tuned,
                )


def _opinions(rng: Random) -> Iterator[Opinion]:
    for harmful, frames in ((True, words.HARMFUL), (False, words.BENIGN)):
        for frame, toxicity, objects in frames:
            shuffled = rng.sample(objects, len(objects))
            for place, thing in enumerate(shuffled):
                rated = round(max(1.0, toxicity + rng.uniform(-0.05, 0.05)), 3)
                yield Opinion(frame.format(thing), harmful, rated, math.exp(rng.gauss(0, 0.8)), place < 2)


def cumulative(weights: Sequence[float]) -> list[float]:
    """Running sums, as `Random.choices` takes them."""
    return list(accumulate(weights))
