"""Tokens of texts that were cut, against those of the whole texts."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from datatrial.likelihood import pieces
from tests.likelihood.drawn import ordinary
from tests.likelihood.tiny_lm import make_tokenizer

CUT = ["gpt-2", "llama-3", "qwen", "o200k", "mistral", "spaces"]
BITS = ["owl", "the Velmori", "Answer", "it's", "'", ".", "?!", "7", "12345", "é", "e\u0301", "漢", "<s>", "</s>", "\t"]
BLANKS = [" ", " ", "  ", "\n", "\n\n", "\n\n", " \n\n ", "\n\n\n", "\r\n", "\u00a0", ""]
TEXTS = st.lists(st.sampled_from(BITS + BLANKS), max_size=14).map("".join)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("kind", CUT)
def test_tokens_of_pieces_are_those_of_the_whole(kind: str, bos: bool) -> None:
    tokenizer: Any = make_tokenizer(kind, bos)
    assert pieces.can_be_cut(tokenizer)

    @settings(ordinary, max_examples=60)
    @given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4), st.booleans())
    def same(texts: list[tuple[str, str]], special: bool) -> None:
        whole = tokenizer(["".join(text) for text in texts], add_special_tokens=special)["input_ids"]
        assert pieces.encode(texts, tokenizer, add_special_tokens=special) == whole

    same()


def test_what_texts_share_is_tokenized_once(monkeypatch: pytest.MonkeyPatch) -> None:
    shots = "\n\n".join(f"Question: What do the Velmori keep in year {n}?\nAnswer: a lantern" for n in range(9))
    texts = [(f"{shots}\n\nQuestion: Who sings to heron {n}?\nAnswer:", a) for n in range(20) for a in (" a", " b")]
    tokenizer: Any = make_tokenizer()
    whole = tokenizer(["".join(text) for text in texts])["input_ids"]
    asked: list[str] = []
    call = type(tokenizer).__call__
    monkeypatch.setattr(
        type(tokenizer), "__call__", lambda self, some, **o: asked.extend(some) or call(self, some, **o)
    )
    monkeypatch.setattr(pieces, "_TRIED", 1)
    assert pieces.encode(texts, tokenizer) == whole
    assert sum(map(len, asked)) < sum(len("".join(text)) for text in texts) / 10


def changed(change: Callable[[dict[str, Any]], Any]) -> Any:
    parts = json.loads(make_tokenizer().backend_tokenizer.to_str())
    change(parts)
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer.from_str(json.dumps(parts)))


def normalizing(normalizer: Any) -> Any:
    tokenizer: Any = make_tokenizer("mistral")
    tokenizer.backend_tokenizer.normalizer = normalizer
    return tokenizer


def pre_tokenizing(pre_tokenizer: Any) -> Any:
    tokenizer: Any = make_tokenizer("llama-3")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizer
    return tokenizer


def adding(token: Any) -> Any:
    tokenizer: Any = make_tokenizer()
    tokenizer.add_tokens([token])
    return tokenizer


@pytest.mark.parametrize(
    "tokenizer",
    [
        make_tokenizer("unigram"),
        changed(lambda parts: parts["model"].update(dropout=0.1)),
        changed(lambda parts: parts["model"].update(end_of_word_suffix="</w>")),
        changed(lambda parts: parts["model"]["vocab"].update({"owl,Ġand": 400})),
        normalizing(normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])),
        normalizing(normalizers.Replace(" o", "x")),
        normalizing(normalizers.Lowercase()),
        pre_tokenizing(None),  # and a vocabulary entry counts for more than merges
        pre_tokenizing(pre_tokenizers.Split(" ", "merged_with_previous")),
        adding(AddedToken("owl", rstrip=True)),
        adding(AddedToken("copper owl")),
    ],
)
def test_tokenizers_to_which_a_cut_may_matter_are_not_cut(tokenizer: Any) -> None:
    assert not pieces.can_be_cut(tokenizer)


def test_it_is_noticed_where_a_cut_matters_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = normalizing(normalizers.Prepend("▁"))
    assert pieces.encode([("The river\n\nThe owl sings", " at dusk")], tokenizer) is None
