"""The sorted trie against a set of prefixes."""

from hypothesis import given
from hypothesis import strategies as st

from datatrial.likelihood.trie import Branch, Request, Trie
from tests.likelihood.drawn import Tokens, answerable, ordinary, prefixes, read_tokens, requests, windows


def read(branch: Branch) -> Tokens:
    return tuple(branch.tokens.tolist())


@given(requests, windows)
@ordinary
def test_each_answerable_request_is_read_as_lm_eval_cuts_it(asked: list[Request], window: int) -> None:
    trie = Trie.of(asked, window)
    assert sorted(branch.request for branch in trie.branches) == answerable(asked, window)
    for branch in trie.branches:
        one = asked[branch.request]
        assert read(branch) == read_tokens(one, window)
        assert branch.targets.tolist() == list(one.continuation)
        assert branch.tokens[branch.first + 1 :].tolist() == list(one.continuation[:-1])


@given(requests, windows, st.sampled_from([1, 257, 3001]))
@ordinary
def test_distinct_tokens_are_the_prefixes_of_what_is_read(asked: list[Request], window: int, spread: int) -> None:
    """spread: how far apart token ids are."""
    asked = [Request(*([spread * token for token in part] for part in one)) for one in asked]
    trie = Trie.of(asked, window)
    sequences = [read_tokens(asked[place], window) for place in answerable(asked, window)]
    assert trie.distinct == len(prefixes(sequences))
    assert trie.total == sum(map(len, sequences))
    assert len(trie) == len(sequences)


@given(requests, windows, st.data())
@ordinary
def test_a_part_of_the_trie_counts_its_own_tokens(asked: list[Request], window: int, data: st.DataObject) -> None:
    trie = Trie.of(asked, window)
    low = data.draw(st.integers(0, len(trie)))
    high = data.draw(st.integers(low, len(trie)))
    sequences = [read(branch) for branch in trie.branches[low:high]]
    shared = [n for n in range(len(min(sequences, key=len, default=())) + 1) if len({s[:n] for s in sequences}) == 1]
    for depth in shared:
        assert trie.tokens(low, high, depth) == sum(len(prefix) > depth for prefix in prefixes(sequences))
    if low < high:
        before_any_logits = min(len(branch.tokens) - len(branch.targets) for branch in trie.branches[low:high])
        assert trie.common(low, high) == min(shared[-1], before_any_logits)
    else:
        assert trie.tokens(low, high, 0) == 0


def test_a_continuation_may_fill_the_window_and_be_no_longer() -> None:
    asked = [Request([1, 2], [3, 4, 5]), Request([1, 2], [3, 4, 5, 6])]
    [branch] = Trie.of(asked, 3).branches
    assert (read(branch), branch.targets.tolist(), branch.first) == ((2, 3, 4), [3, 4, 5], 0)
