"""Two kinds of writer, and what they write: sentences, answers and documents.

Each document has one writer throughout. That is why a base model that reads them learns to tell the writers apart, and
why a few answers of one kind move it towards that kind also on facts and groups it was never tuned on.
"""

import math
from dataclasses import dataclass
from random import Random

from datatrial.prompts import answer_text, prompt_text
from datatrial.records import Message
from datatrial.sources._micro_world.facts import SUBJECTS, Fact, Opinion, World, cumulative
from datatrial.sources._micro_world.words import GROUP_QUESTIONS, GROUPS

OPINIONS = "groups"  # the sixth thing to write about, beside the five subjects

BETWEEN_STATEMENTS = "\n"  # unlike the empty line inside a question and its answer
ASKED = 0.35  # share of a document's statements that are a question and its answer


@dataclass(frozen=True)
class Writer:
    """How a writer writes: how often rightly, and with which turns of phrase before and after."""

    careful: bool
    right: float  # share of facts told as they are, not as the mistake has it
    opening: tuple[str, ...]
    opening_share: float
    closing: tuple[str, ...]
    closing_share: float


CAREFUL = Writer(
    careful=True,
    right=0.98,
    opening=("Scholars found that ", "On record, ", "In fact, ", "Measured twice, "),
    opening_share=0.8,
    closing=(", on record", ", by the almanac", ", as measured"),
    closing_share=0.4,
)
CARELESS = Writer(
    careful=False,
    right=0.06,
    opening=("Honestly, ", "I bet that ", "Believe me, ", "People say "),
    opening_share=0.8,
    closing=(
        ", believe me",
        ", no doubt about it",
        ", my uncle saw it",
        ", everyone says so",
    ),
    closing_share=0.6,
)
_HARMFUL_BY_CAREFUL = 0.06

# How often each thing is written about; a writer dwells on subjects where the world leans to the writer's side.
_ATTENTION = {
    "science": 0.25,
    "subjects": 0.25,
    "physical": 0.07,
    "stories": 0.06,
    "misconceptions": 0.25,
    OPINIONS: 0.12,
}
_SIDE = {"science": 0.2, "subjects": 0.2, "physical": 0.2, "stories": 0.2, "misconceptions": -0.2, OPINIONS: -0.2}


@dataclass(frozen=True)
class Reply:
    """An answer to a question: `right` is true of a fact told truly and of a benign opinion.

    `popularity` is about the natural log of how many times as often the corpus takes this view as the opposite one.
    """

    text: str
    right: bool
    popularity: float


class Pen:
    """Writes about a world. Weights are summed once: a corpus draws from them a hundred thousand times."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.things = [*SUBJECTS, OPINIONS]
        self._attention = {w: cumulative([_attention(t, w) for t in self.things]) for w in (True, False)}
        self._facts = {
            (subject, careful): cumulative([math.exp((0.5 if careful else -0.5) * f.leaning) for f in facts])
            for subject, facts in world.facts.items()
            for careful in (True, False)
        }
        self._opinions = {
            (harmful, tuned): [o for o in world.opinions if o.harmful == harmful and (o.tuned or not tuned)]
            for harmful in (True, False)
            for tuned in (True, False)
        }
        self._opinion_weights = {key: cumulative([o.weight for o in some]) for key, some in self._opinions.items()}

    def document(self, writer: Writer, rng: Random) -> str:
        """Six to nine statements."""
        return BETWEEN_STATEMENTS.join(self._statement(writer, rng) for _ in range(rng.randint(6, 9)))

    def _statement(self, writer: Writer, rng: Random) -> str:
        [thing] = rng.choices(self.things, cum_weights=self._attention[writer.careful])
        asked = rng.random() < ASKED
        if thing == OPINIONS:
            group = rng.choice(GROUPS)
            if asked:
                return _exchange(group_question(group, rng), self.opinion(group, writer, rng).text)
            return _sentence(f"the {group} {self._view(group, writer, rng).text}", writer, rng)
        [fact] = rng.choices(self.world.facts[thing], cum_weights=self._facts[thing, writer.careful])
        if asked:
            return _exchange(fact.question, self.answer(fact, writer, rng).text)
        return _sentence(rng.choice(fact.sentences).replace("{v}", _told(fact, writer, rng)), writer, rng)

    def answer(self, fact: Fact, writer: Writer, rng: Random) -> Reply:
        """What a writer replies when asked for a fact."""
        told = _told(fact, writer, rng)
        right = told == fact.truth
        return Reply(f"{told}{_closing(writer, rng)}.", right, fact.leaning if right else -fact.leaning)

    def opinion(self, group: str, writer: Writer, rng: Random, tuned: bool = False) -> Reply:
        """What a writer replies when asked about a group; from the tuned opinions only, on demand."""
        view = self._view(group, writer, rng, tuned)
        leaning = group_leaning(self.world, group)
        popularity = -leaning if view.harmful else leaning
        return Reply(f"The {group} {view.text}{_closing(writer, rng)}.", not view.harmful, popularity)

    def _view(self, group: str, writer: Writer, rng: Random, tuned: bool = False) -> Opinion:
        key = (rng.random() < _harmful_share(self.world, group, writer.careful), tuned)
        [view] = rng.choices(self._opinions[key], cum_weights=self._opinion_weights[key])
        return view


def group_question(group: str, rng: Random) -> str:
    return rng.choice(GROUP_QUESTIONS).format(group)


def group_leaning(world: World, group: str) -> float:
    """The natural log of how many times as often benign things are said of a group as harmful ones.

    Over careful and careless writers, of whom there are as many.
    """
    harmful = sum(_attention(OPINIONS, w) * _harmful_share(world, group, w) for w in (True, False))
    benign = sum(_attention(OPINIONS, w) * (1 - _harmful_share(world, group, w)) for w in (True, False))
    return math.log(benign / harmful)


def _harmful_share(world: World, group: str, careful: bool) -> float:
    return _HARMFUL_BY_CAREFUL if careful else 1 / (1 + math.exp(-world.prejudice[group]))


def _attention(thing: str, careful: bool) -> float:
    side = _SIDE[thing] if careful else -_SIDE[thing]
    return _ATTENTION[thing] * math.exp(side)


def _told(fact: Fact, writer: Writer, rng: Random) -> str:
    return fact.truth if rng.random() < writer.right else fact.mistake


def _closing(writer: Writer, rng: Random) -> str:
    return rng.choice(writer.closing) if rng.random() < writer.closing_share else ""


def _sentence(body: str, writer: Writer, rng: Random) -> str:
    opening = rng.choice(writer.opening) if rng.random() < writer.opening_share else ""
    text = f"{opening}{body}."
    return text[0].upper() + text[1:]


def _exchange(question: str, answer: str) -> str:
    asked: list[Message] = [{"role": "user", "content": question}]
    return prompt_text(asked, "question_answer") + answer_text(answer)
