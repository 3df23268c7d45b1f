"""How a trie goes through a model: which prefixes are computed once and kept, and what lies in which row."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from datatrial.likelihood.budget import Budget
from datatrial.likelihood.trie import Ints, Trie

Span = tuple[int, int]  # branches [low, high)
Row = list[Span]

_WORTH_HEAD = 128  # states: with fewer, reading the head's weights costs more than computing with them
_PASSES = 16  # of a group at most, so that there is something to tell, and little to repeat after an interruption


@dataclass(frozen=True, eq=False)
class Prefix:
    """Tokens that many rows begin with: a forward pass of their own, whose keys and values are kept."""

    tokens: Ints  # [n] those after the parent's
    depth: int  # tokens up to here, the parent's included
    parent: "Prefix | None"


@dataclass(frozen=True, eq=False)
class Pass:
    """One forward pass: rows of equal width, in each of which branches of the trie lie in depth-first order.

    In that order a token's descendants follow it without a gap, so that `last` says all of the attention mask: the
    token at q sees the one at k if k ≤ q ≤ last[k], and the whole prefix.
    """

    prefix: Prefix | None
    tokens: Ints  # [rows, width] token ids; 0 where a row is padded
    positions: Ints  # [rows, width] depths in the trie
    last: Ints  # [rows, width] the place in the row of each token's last descendant
    slots: Ints  # [u] places (row · width + column) whose logits are needed, ascending
    pick: Ints  # [m] for each target of each request in turn, its place in `slots`
    targets: Ints  # [m] token ids
    requests: Ints  # [r] whose targets these are
    starts: Ints  # [r] where each request's targets begin
    size: int  # tokens, padding left out

    @property
    def ancestry(self) -> list[Prefix]:
        """Its prefix and those before it, outermost first."""
        found = [self.prefix] if self.prefix else []
        while found and found[0].parent:
            found.insert(0, found[0].parent)
        return found


@dataclass(frozen=True)
class Layout:
    """The passes in their order: all that share a prefix follow each other, a prefix after its parent."""

    passes: tuple[Pass, ...]
    budget: Budget

    @property
    def groups(self) -> list[list[Pass]]:
        """Passes in their order, together until the model's head is worth running on what they need."""
        groups: list[list[Pass]] = []
        needed = _WORTH_HEAD
        for one in self.passes:
            if needed >= _WORTH_HEAD or len(groups[-1]) == _PASSES:
                groups.append([])
                needed = 0
            groups[-1].append(one)
            needed += len(one.slots)
        return groups

    @property
    def tokens(self) -> int:
        """Tokens that go through the model, prefixes included, padding left out."""
        return sum(p.size for p in self.passes) + sum(len(prefix.tokens) for prefix in self.prefixes)

    @property
    def padding(self) -> int:
        return sum(p.tokens.size - p.size for p in self.passes)

    @property
    def prefixes(self) -> list[Prefix]:
        """Each once, parents first."""
        found: dict[int, Prefix] = {}
        for one in self.passes:
            for prefix in one.ancestry:
                found.setdefault(id(prefix), prefix)
        return list(found.values())


def lay_out(trie: Trie, budget: Budget) -> Layout:
    """The trie as passes within the budget. A branch too long for it is a pass of its own."""
    passes: list[Pass] = []
    for prefix, spans in _spans(trie, budget):
        passes += in_passes(trie, prefix, _packed(trie, prefix, spans, budget.row), budget.tokens)
    return Layout(tuple(passes), budget)


def in_passes(trie: Trie, prefix: Prefix | None, rows: Iterable[Row], tokens: int) -> list[Pass]:
    """Rows of branches that begin with a prefix, as passes of so many tokens: those of like width, the widest first."""
    widths = ((_width(trie, prefix, row), row) for row in rows)
    passes: list[Pass] = []
    batch: list[Row] = []
    widest = 0
    for width, row in sorted(widths, key=lambda one: (-one[0], one[1])):
        if batch and (len(batch) + 1) * widest > tokens:
            passes.append(_pass(trie, prefix, batch))
            batch = []
        widest = widest if batch else width
        batch.append(row)
    return [*passes, _pass(trie, prefix, batch)] if batch else passes


def _depth(prefix: Prefix | None) -> int:
    return prefix.depth if prefix else 0


def _spans(trie: Trie, budget: Budget) -> Iterator[tuple[Prefix | None, list[Span]]]:
    """What lies under each prefix, in spans for rows; deeper prefixes after what lies directly under this one."""
    waiting: list[tuple[Span, Prefix | None]] = [((0, len(trie)), None)]
    while waiting:
        (low, high), prefix = waiting.pop()
        done = _depth(prefix)
        deeper = list(_worth_keeping(trie, low, high, done, budget))
        gaps = zip([low, *(b for (_, b), _ in deeper)], [*(a for (a, _), _ in deeper), high], strict=True)
        if spans := [span for a, b in gaps for span in _cut(trie, a, b, done, budget.row)]:
            yield prefix, spans
        for (a, b), depth in reversed(deeper):
            waiting.append(((a, b), Prefix(trie.branches[a].tokens[done:depth], depth, prefix)))


def _worth_keeping(trie: Trie, low: int, high: int, done: int, budget: Budget) -> Iterator[tuple[Span, int]]:
    """The largest subtrees whose common prefix costs less as a pass of its own than repeated in each of their rows."""
    waiting = [(low, high)]
    while waiting:
        a, b = waiting.pop()
        if b - a < 2:
            continue
        depth = trie.common(a, b)
        rows = min(b - a, -(-(trie.tokens(a, b, done) - (depth - done)) // budget.row))
        if (depth - done) * (rows - 1) >= budget.keep:
            yield (a, b), depth
        elif rows > 1:
            inner = trie.shared[a + 1 : b]
            forks = [a, *(np.flatnonzero(inner == inner.min()) + a + 1).tolist(), b]
            waiting += zip(forks[-2::-1], forks[:0:-1], strict=True)


def _cut(trie: Trie, low: int, high: int, done: int, row: int) -> Iterator[Span]:
    """Branches [low, high) in spans of `row` tokens at most, cut where least has to be repeated."""
    repeated = np.maximum(trie.shared[low : high + 1], done) - done
    added = trie.lengths[low:high] - done - repeated[:-1]
    reached: Ints = np.concatenate([[0], np.cumsum(added)])  # tokens before each branch, as if all lay in one row
    start = 0
    while start < high - low:
        end = _end_of_span(reached, repeated, start, row)
        yield low + start, low + end
        start = end


def _end_of_span(reached: Ints, repeated: Ints, start: int, row: int) -> int:
    """How far a span reaches: beyond `row` tokens by fewer than it would cost to cut it there.

    With a row of one token each branch is a span, with those that equal it.
    """
    before = reached[start] - repeated[start]  # The first branch brings all of its tokens.

    def within(tokens: int) -> int:
        """How far at most; one branch at least, and with it those that equal it."""
        return int(np.searchsorted(reached, max(before + tokens, reached[start + 1]), "right")) - 1

    low, high = within(row // 8), within(row)
    if high < len(reached) - 1:
        high = within(row + max(int(repeated[low : high + 1].min()) - 1, 0))
    cost = repeated[low : high + 1]
    best = np.flatnonzero(cost == cost.min())
    # Short spans fill rows better, but each repeats what it shares with the one before.
    return low + int(best[0] if cost.min() <= row // 32 else best[-1])


def _packed(trie: Trie, prefix: Prefix | None, spans: Iterable[Span], row: int) -> Iterator[Row]:
    """Spans in rows of `row` tokens at most: the largest one left, then again the largest one that still fits."""
    left = sorted((trie.tokens(a, b, _depth(prefix)), -a, -b) for a, b in spans)
    while left:
        size, a, b = left.pop()
        packed, room = [(-a, -b)], row - size
        while fitting := bisect_right(left, room, key=lambda span: span[0]):
            size, a, b = left.pop(fitting - 1)
            packed.append((-a, -b))
            room -= size
        yield sorted(packed)


def _width(trie: Trie, prefix: Prefix | None, row: Row) -> int:
    return sum(trie.tokens(a, b, _depth(prefix)) for a, b in row)


def _pass(trie: Trie, prefix: Prefix | None, rows: Sequence[Row]) -> Pass:
    done = _depth(prefix)
    widths = [_width(trie, prefix, row) for row in rows]
    shape = len(rows), max(widths)
    tokens, positions = np.zeros((2, *shape), np.int64)
    last = np.tile(np.arange(shape[1]), (len(rows), 1))
    places: list[Ints] = []
    for number, row in enumerate(rows):
        at = 0
        for a, b in row:
            end = at + trie.tokens(a, b, done)
            span = (array[number, at:end] for array in (tokens, positions, last))
            places += [number * shape[1] + at + found for found in _fill(trie, a, b, done, *span)]
            last[number, at:end] += at
            at = end
    branches = [trie.branches[i] for row in rows for a, b in row for i in range(a, b)]
    slots, pick = np.unique(np.concatenate(places), return_inverse=True)
    counts = np.array([len(branch.targets) for branch in branches])
    return Pass(
        prefix=prefix,
        tokens=tokens,
        positions=positions,
        last=last,
        slots=slots,
        pick=pick,
        targets=np.concatenate([branch.targets for branch in branches]),
        requests=np.array([branch.request for branch in branches]),
        starts=np.concatenate([[0], np.cumsum(counts)[:-1]]),
        size=sum(widths),
    )


def _fill(trie: Trie, low: int, high: int, done: int, tokens: Ints, positions: Ints, last: Ints) -> Iterator[Ints]:
    """Write branches [low, high) into part of a row; for each, the places there of its tokens with needed logits."""
    path: Ints = np.zeros(int(trie.lengths[low:high].max()), np.int64)  # place by depth
    depth = done  # of the branch before
    at = 0
    for i in range(low, high):
        end, start = int(trie.lengths[i]), done if i == low else max(int(trie.shared[i]), done)
        if start < end:
            last[path[start:depth]] = at - 1
            new = at + end - start
            tokens[at:new] = trie.branches[i].tokens[start:]
            positions[at:new] = np.arange(start, end)
            path[start:end] = np.arange(at, new)
            at, depth = new, end
        yield path[trie.first[i] : end].copy()
    last[path[done:depth]] = at - 1
