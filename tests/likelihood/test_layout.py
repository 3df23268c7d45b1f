"""Layouts against the rows, masks and prefixes spelled out token by token."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import groupby, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datatrial.likelihood.budget import Budget
from datatrial.likelihood.layout import Layout, Pass, lay_out
from datatrial.likelihood.trie import Request, Trie
from tests.likelihood.drawn import (
    ENDLESS,
    Tokens,
    answerable,
    budgets,
    many,
    ordinary,
    prefixes,
    read_tokens,
    requests,
    windows,
)


@dataclass(frozen=True)
class Seen:
    """What the mask lets the token see after which a target is expected, itself included."""

    row: int
    places: Tokens  # in the row
    tokens: Tokens
    positions: Tokens


def before(one: Pass) -> Tokens:
    """The tokens of a pass's prefix."""
    return tuple(np.concatenate([prefix.tokens for prefix in one.ancestry]).tolist()) if one.prefix else ()


def seen(one: Pass, target: int) -> Seen:
    width = one.tokens.shape[1]
    row, q = divmod(int(one.slots[one.pick[target]]), width)
    places = [k for k in range(q + 1) if q <= one.last[row, k]]
    prefix = before(one)
    return Seen(
        row=row,
        places=tuple(places),
        tokens=(*prefix, *one.tokens[row, places].tolist()),
        positions=(*range(len(prefix)), *one.positions[row, places].tolist()),
    )


def targets(one: Pass) -> Iterator[tuple[int, range]]:
    """The requests of a pass, each with the numbers of its targets."""
    ends = [*one.starts[1:].tolist(), len(one.targets)]
    for request, start, end in zip(one.requests.tolist(), one.starts.tolist(), ends, strict=True):
        yield request, range(start, end)


def rows(one: Pass) -> list[tuple[set[int], set[int]]]:
    """For each row the requests in it, and the places that they see."""
    found: list[tuple[set[int], set[int]]] = [(set(), set()) for _ in one.tokens]
    for request, numbers in targets(one):
        for number in numbers:
            looked = seen(one, number)
            found[looked.row][0].add(request)
            found[looked.row][1].update(looked.places)
    return found


@given(requests, windows, budgets)
@ordinary
def test_each_request_is_answered_once_by_tokens_that_see_its_own_branch(
    asked: list[Request], window: int, budget: Budget
) -> None:
    layout = lay_out(Trie.of(asked, window), budget)
    answered = []
    for one in layout.passes:
        for request, numbers in targets(one):
            answered.append(request)
            whole, continuation = read_tokens(asked[request], window), list(asked[request].continuation)
            assert one.targets[list(numbers)].tolist() == continuation
            for number, depth in zip(numbers, range(len(whole) - len(continuation), len(whole)), strict=True):
                looked = seen(one, number)
                assert looked.tokens == whole[: depth + 1]
                assert looked.positions == tuple(range(depth + 1))
    assert sorted(answered) == answerable(asked, window)


@given(requests, windows, budgets)
@ordinary
def test_a_row_holds_what_its_branches_see_and_padding_after_it(
    asked: list[Request], window: int, budget: Budget
) -> None:
    layout = lay_out(Trie.of(asked, window), budget)
    read = 0
    for one in layout.passes:
        used = [places for _, places in rows(one)]
        assert all(places == set(range(len(places))) for places in used)
        assert max(map(len, used)) == one.tokens.shape[1]
        assert sum(map(len, used)) == one.size
        read += one.size
        for row, places in enumerate(used):
            unused = slice(len(places), None)
            assert not one.tokens[row, unused].any() and not one.positions[row, unused].any()
            assert (one.last[row, : len(places)] < len(places)).all()
    assert layout.padding == sum(one.tokens.size for one in layout.passes) - read
    assert layout.tokens == read + sum(len(prefix.tokens) for prefix in layout.prefixes)


@given(requests, windows, budgets)
@ordinary
def test_slots_are_the_places_with_targets_once_each(asked: list[Request], window: int, budget: Budget) -> None:
    for one in lay_out(Trie.of(asked, window), budget).passes:
        assert one.slots.tolist() == sorted(set(one.slots.tolist()))
        assert one.slots[-1] < one.tokens.size
        assert set(one.pick.tolist()) == set(range(len(one.slots)))
        assert len(one.pick) == len(one.targets)


@given(requests, windows, budgets)
@ordinary
def test_passes_keep_to_the_budget_where_their_branches_fit_into_it(
    asked: list[Request], window: int, budget: Budget
) -> None:
    for one in lay_out(Trie.of(asked, window), budget).passes:
        assert len(one.tokens) == 1 or one.tokens.size <= budget.tokens
        for in_row, places in rows(one):
            read = sorted({read_tokens(asked[request], window) for request in in_row})
            forks = [len(prefixes([a]) & prefixes([b])) - len(before(one)) for a, b in pairwise(read)]
            # It may be longer where a cut would have cost as much.
            assert len(read) == 1 or len(places) <= budget.row + max(forks)


@given(requests, windows)
@ordinary
def test_rows_of_one_token_hold_one_branch_each(asked: list[Request], window: int) -> None:
    apart = Budget(row=1, tokens=ENDLESS, logits=ENDLESS, keep=ENDLESS)
    for one in lay_out(Trie.of(asked, window), apart).passes:
        for in_row, _ in rows(one):
            assert len({read_tokens(asked[request], window) for request in in_row}) == 1


@given(requests, windows, budgets)
@ordinary
def test_groups_are_the_passes_in_their_order(asked: list[Request], window: int, budget: Budget) -> None:
    layout = lay_out(Trie.of(asked, window), budget)
    assert all(layout.groups)
    assert [one for group in layout.groups for one in group] == list(layout.passes)


@given(requests, windows, budgets)
@ordinary
def test_a_prefix_follows_its_parent_and_its_passes_each_other(
    asked: list[Request], window: int, budget: Budget
) -> None:
    layout = lay_out(Trie.of(asked, window), budget)
    groups = [prefix for prefix, _ in groupby(one.prefix for one in layout.passes)]
    assert len({id(prefix) for prefix in groups}) == len(groups)
    place = {id(prefix): n for n, prefix in enumerate(layout.prefixes)}
    for prefix in layout.prefixes:
        assert len(prefix.tokens) > 0
        assert prefix.depth == len(prefix.tokens) + (prefix.parent.depth if prefix.parent else 0)
        assert prefix.parent is None or place[id(prefix.parent)] < place[id(prefix)]


@given(requests, windows, budgets)
@ordinary
def test_distinct_tokens_are_read_at_least_once_and_only_once_where_rows_are_endless(
    asked: list[Request], window: int, budget: Budget
) -> None:
    trie = Trie.of(asked, window)
    nodes = len(prefixes(read_tokens(asked[place], window) for place in answerable(asked, window)))
    assert nodes <= lay_out(trie, budget).tokens <= trie.total
    assert lay_out(trie, replace(budget, row=ENDLESS)).tokens == nodes


@given(requests, windows, budgets)
@ordinary
def test_a_prefix_is_kept_where_that_can_save_what_it_must(asked: list[Request], window: int, budget: Budget) -> None:
    layout = lay_out(Trie.of(asked, window), budget)
    begun = Counter(id(prefix) for one in layout.passes for prefix in one.ancestry for _ in one.requests)
    for prefix in layout.prefixes:
        assert len(prefix.tokens) * (begun[id(prefix)] - 1) >= budget.keep


@pytest.mark.parametrize("keep", [1, 8, 32])
@pytest.mark.parametrize("row", [5, 30])
def test_on_the_whole_keeping_prefixes_reads_less_than_repeating_them(row: int, keep: int) -> None:
    kept = repeated = distinct = 0
    for seed in range(40):
        trie, budget = Trie.of(many(seed), ENDLESS), Budget(row=row, tokens=ENDLESS, logits=ENDLESS, keep=keep)
        distinct += trie.distinct
        kept += lay_out(trie, budget).tokens
        repeated += lay_out(trie, replace(budget, keep=ENDLESS)).tokens
    assert distinct <= kept < repeated


@pytest.mark.parametrize("row", [8, 40, 64, 100])
@pytest.mark.parametrize("keep", [1, 16, ENDLESS])
def test_the_answers_to_a_question_read_it_once_however_long_it_is(row: int, keep: int) -> None:
    question, answers = list(range(1, 60)), ([101, 102], [101, 103], [104, 105], [106])
    trie = Trie.of([Request(question, answer) for answer in answers], ENDLESS)
    layout = lay_out(trie, Budget(row=row, tokens=100, logits=100, keep=keep))
    assert layout.tokens == trie.distinct


def test_what_many_questions_begin_with_is_read_once() -> None:
    shots = [list(range(k, k + 300)) for k in (0, 1000)]
    asked = [Request([*shots[k % 2], *range(2000 + k, 2040 + k)], [a]) for k in range(60) for a in (5, 6, 7)]
    trie = Trie.of(asked, ENDLESS)
    layout = lay_out(trie, Budget(row=100, tokens=200, logits=100, keep=32))
    assert [len(prefix.tokens) for prefix in layout.prefixes] == [300, 300]
    assert layout.tokens == trie.distinct == 2 * 300 + 60 * 40


def told(layout: Layout, original: list[int]) -> list[object]:
    """All that a layout says, with requests under their original numbers."""
    said: list[object] = []
    for one in layout.passes:
        arrays = [one.tokens, one.positions, one.last, one.slots]
        answers = Counter(
            (original[request], tuple(one.pick[list(numbers)].tolist()), tuple(one.targets[list(numbers)].tolist()))
            for request, numbers in targets(one)
        )
        said.append(([array.tolist() for array in arrays], before(one), one.size, answers))
    return said


@given(requests, windows, budgets, st.data())
@ordinary
def test_the_order_of_the_requests_changes_nothing(
    asked: list[Request], window: int, budget: Budget, data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(asked))))
    shuffled = Trie.of([asked[place] for place in order], window)
    said = told(lay_out(Trie.of(asked, window), budget), list(range(len(asked))))
    assert told(lay_out(shuffled, budget), order) == said
