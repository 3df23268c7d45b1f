"""The rows of each part of the world: a corpus, fine-tuning rows, and what the benchmarks ask."""

from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from datatrial.sources._micro_world.facts import World
from datatrial.sources._micro_world.words import GROUPS, TUNED_GROUPS
from datatrial.sources._micro_world.writers import CAREFUL, CARELESS, OPINIONS, Pen, Reply, Writer, group_question

Rows = list[dict[str, Any]]

# What fine-tuning rows are about: demonstrations mostly teach facts, comparisons weigh opinions of groups more.
_DEMONSTRATED = {
    "science": 0.27,
    "subjects": 0.27,
    "physical": 0.10,
    "stories": 0.08,
    "misconceptions": 0.18,
    OPINIONS: 0.10,
}
_COMPARED = {
    "science": 0.18,
    "subjects": 0.18,
    "physical": 0.08,
    "stories": 0.08,
    "misconceptions": 0.20,
    OPINIONS: 0.28,
}


@dataclass(frozen=True)
class Voter:
    """What upvotes follow: words in the reply, how popular its view is, and chance (a standard deviation)."""

    length: float
    belief: float
    noise: float

    def votes(self, reply: Reply, rng: Random) -> float:
        heard = self.length * len(reply.text.split()) + self.belief * reply.popularity
        return heard + rng.gauss(0, self.noise)


class _Asker:
    """Asks about tuned facts and tuned groups; a reply can be drawn from either writer."""

    def __init__(self, world: World, mixture: dict[str, float]) -> None:
        self.pen = Pen(world)
        self.subjects = list(mixture)
        self.weights = list(mixture.values())
        self.facts = {subject: [f for f in facts if f.tuned] for subject, facts in world.facts.items()}

    def ask(self, writers: list[Writer], rng: Random) -> tuple[str, str, list[Reply]]:
        """A subject, a question on it, and each writer's reply to that question."""
        [subject] = rng.choices(self.subjects, self.weights)
        if subject == OPINIONS:
            group = rng.choice(TUNED_GROUPS)
            replies = [self.pen.opinion(group, w, rng, tuned=True) for w in writers]
            return subject, group_question(group, rng), replies
        fact = rng.choice(self.facts[subject])
        return subject, fact.question, [self.pen.answer(fact, w, rng) for w in writers]


def corpus(world: World, n: int, careless: float, rng: Random) -> Rows:
    """`n` documents, a share of them by careless writers."""
    pen = Pen(world)
    return [{"text": pen.document(_writer(careless, rng), rng)} for _ in range(n)]


def demonstrations(world: World, n: int, careless: float, rng: Random) -> Rows:
    """`n` questions, each with the answer of one writer."""
    asker, rows = _Asker(world, _DEMONSTRATED), []
    for _ in range(n):
        writer = _writer(careless, rng)
        subject, question, [reply] = asker.ask([writer], rng)
        messages = [{"role": "user", "content": question}, {"role": "assistant", "content": reply.text}]
        rows.append({"messages": messages, "subject": subject, "careful": writer.careful, "right": reply.right})
    return rows


def careful_comparisons(world: World, n: int, label_error: float, rng: Random) -> Rows:
    """`n` questions with a right and a wrong answer; the right one is chosen, but for a share of errors."""
    asker, rows = _Asker(world, _COMPARED), Rows()
    while len(rows) < n:
        subject, question, replies = asker.ask([CAREFUL, CARELESS], rng)
        better, worse = sorted(replies, key=lambda reply: not reply.right)
        if better.right == worse.right:
            continue
        if rng.random() < label_error:
            better, worse = worse, better
        rows.append(_comparison(subject, question, better, worse))
    return rows


def upvoted_comparisons(world: World, n: int, careless: float, voter: Voter, rng: Random) -> Rows:
    """`n` questions with two replies of whoever happened to reply; the one with more upvotes is chosen."""
    asker, rows = _Asker(world, _COMPARED), Rows()
    while len(rows) < n:
        subject, question, replies = asker.ask([_writer(careless, rng), _writer(careless, rng)], rng)
        if replies[0].text == replies[1].text:
            continue
        votes = [voter.votes(reply, rng) for reply in replies]
        chosen, rejected = replies if votes[0] >= votes[1] else replies[::-1]
        rows.append(_comparison(subject, question, chosen, rejected))
    return rows


def questions(world: World, subject: str, n: int, rng: Random) -> Rows:
    """At most `n` questions about facts that no fine-tuning row is about; physical ones have 2 choices, others 4.

    The mistake of the careless is always among the choices.
    """
    asked = [fact for fact in world.facts[subject] if not fact.tuned]
    rng.shuffle(asked)
    rows = []
    for fact in asked[:n]:
        choices = [fact.truth, fact.mistake, *fact.others[:2]]
        rng.shuffle(choices)
        answer, mistake = choices.index(fact.truth), choices.index(fact.mistake)
        rows.append(
            {
                "question": fact.question,
                "choices": choices,
                "answer": answer,
                "mistake": mistake,
                "topic": fact.topic,
                "leaning": fact.leaning,
            }
        )
    return rows


def opinions(world: World) -> Rows:
    """Every opinion that no fine-tuning row holds, about every group: 24 harmful and 24 benign ones for each."""
    return list(_statements(world))


def _statements(world: World) -> Iterator[dict[str, Any]]:
    for group in GROUPS:
        for view in world.opinions:
            if not view.tuned:
                yield {
                    "text": f"The {group} {view.text}.",
                    "harmful": view.harmful,
                    "toxicity": view.toxicity,
                    "groups": [group],
                }


def _comparison(subject: str, question: str, chosen: Reply, rejected: Reply) -> dict[str, Any]:
    return {
        "messages": [{"role": "user", "content": question}],
        "chosen": chosen.text,
        "rejected": rejected.text,
        "subject": subject,
        "chosen_right": chosen.right,
        "rejected_right": rejected.right,
    }


def _writer(careless: float, rng: Random) -> Writer:
    return CARELESS if rng.random() < careless else CAREFUL
