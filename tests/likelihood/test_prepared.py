from datatrial.likelihood.prepared import Encoded, Prepared, Text, key_of


def encoded(tokens: int) -> Encoded:
    return Encoded.of([(None, list(range(tokens)), [0])], max_length=10**6)


def test_the_last_used_are_kept_as_far_as_their_tokens_fit() -> None:
    prepared, made = Prepared(tokens=100), list[str]()

    def get(key: str, tokens: int) -> Encoded:
        def make() -> Encoded:
            made.append(key)
            return encoded(tokens)

        return prepared.get(key, make)

    first = get("a", 40)
    get("b", 40)
    assert get("a", 40) is first
    get("c", 40)  # for which the one goes that was not used for longest
    assert get("a", 40) is first
    get("b", 40)
    get("huge", 1000)  # is kept alone
    get("huge", 1000)
    get("a", 40)
    assert made == ["a", "b", "c", "b", "huge", "a"]


def test_what_differs_has_another_key() -> None:
    sets: list[list[Text]] = [[("ab", "c")], [("a", "bc")], [("abc", "")], [("ab", "c"), ("", "")], []]
    keys = [key_of(texts, 48) for texts in sets] + [key_of(sets[0], 49), key_of(sets[0], 48, "tokenizer")]
    assert len(set(keys)) == len(keys)
    assert key_of(sets[0], 48) == key_of(list(sets[0]), 48)
    assert key_of([("\ud800", "c")], 48) != key_of([("\ud801", "c")], 48)


def test_what_is_no_request_keeps_its_place() -> None:
    found = Encoded.of(
        [
            (("a", "b"), [1], [2]),
            (("a", ""), [1], []),
            (("a", "b"), [1], []),
            (None, [1], []),
            (None, [], [2]),
            (None, [1], [2, 3, 9, 5]),
            (None, [1, 1, 7], [8]),
        ],
        max_length=3,
    )
    assert [branch.request for branch in found.trie.branches] == [0, 6]
    assert (found.requests, found.empty, set(found.unanswerable)) == (7, (1, 3), {2, 4, 5})
    assert (found.trie.highest, found.truncated) == (8, 0)
    assert Encoded.of([(None, [1, 1, 7], [8])], max_length=2).truncated == 1
