"""Requests, windows and budgets for property-based tests, and what a request asks, spelled out."""

from collections.abc import Iterable, Sequence
from random import Random

from hypothesis import settings
from hypothesis import strategies as st

from datatrial.likelihood.budget import Budget
from datatrial.likelihood.trie import Request

Tokens = tuple[int, ...]

ENDLESS = 10**6  # more than any of these tries needs
ALPHABET = 40
BOS = 0
# The same examples each time, without a file that keeps those which failed.
ordinary = settings(deadline=None, derandomize=True, database=None, max_examples=100)


@st.composite
def few(draw: st.DrawFn) -> list[Request]:
    """Up to a dozen requests; of few stems or few letters, so that much is shared."""
    letters = st.integers(1, draw(st.sampled_from([1, 2, 3, ALPHABET - 1])))
    stems = draw(st.lists(st.lists(letters, min_size=1, max_size=30), min_size=1, max_size=3))
    bos = draw(st.sampled_from([(), (BOS,)]))
    asked: list[Request] = []
    for _ in range(draw(st.integers(0, 12))):
        if asked and draw(st.integers(0, 4)) == 0:
            asked.append(draw(st.sampled_from(asked)))
            continue
        stem = draw(st.sampled_from(stems))
        cut = draw(st.integers(1, len(stem)))
        # One that goes on where the stem was cut is inside of what others read.
        on = draw(st.one_of(st.just(stem[cut:]), st.lists(letters, max_size=1), st.lists(letters, max_size=8)))
        context = [*bos, *stem[:cut], *draw(st.sampled_from([[], stem, draw(st.lists(letters, max_size=4))]))]
        asked.append(Request(context, on))
    return asked


def many(seed: int) -> list[Request]:
    """Up to a hundred, as benchmarks ask: subjects with a long prefix, questions with a shorter one, answers."""
    rng = Random(seed)

    def text(most: int) -> list[int]:
        return [rng.randrange(ALPHABET) for _ in range(rng.randint(1, most))]

    asked: list[Request] = []
    for _ in range(rng.randint(1, 4)):
        subject = text(40)
        for _ in range(rng.randint(1, 6)):
            question = subject + text(12)
            asked += [Request(question, text(5)[: rng.choice([0, 1, 5])]) for _ in range(rng.randint(1, 5))]
    chain = text(60)
    asked += [Request(chain[:n], chain[n : n + 3]) for n in range(1, len(chain), rng.randint(1, 20))]
    rng.shuffle(asked)
    return asked


requests = st.one_of(few(), st.integers(0, 2**32).map(many))
windows = st.one_of(st.integers(1, 20), st.just(ENDLESS))
sizes = st.sampled_from([1, 2, 3, 5, 8, 13, 30, 100, ENDLESS])
budgets = st.builds(Budget, row=sizes, tokens=sizes, logits=sizes, keep=sizes)


def answerable(asked: Sequence[Request], window: int) -> list[int]:
    """The places of the requests that a model with such a window can be asked."""
    return [place for place, one in enumerate(asked) if 1 <= len(one.continuation) <= window]


def read_tokens(one: Request, window: int) -> Tokens:
    """What the model reads: lm-eval's rule, in `HFLM._loglikelihood_tokens`."""
    return tuple([*one.context, *one.continuation][-(window + 1) :][:-1])


def prefixes(sequences: Iterable[Tokens]) -> set[Tokens]:
    """All that are not empty, of all sequences: a trie's nodes."""
    return {sequence[:n] for sequence in sequences for n in range(1, len(sequence) + 1)}
