"""Texts cut where no token can lie across, so that what many texts share is tokenized once.

Few-shot examples come again in one text after the other. A text is cut between a printable ASCII character and a space
before an ASCII letter. There a byte-pair tokenizer gives the same tokens for both sides together and apart if

- no token of its vocabulary has a space right after a printable ASCII character, so that no merge crosses the cut;
- its normalizer leaves both sides as they are, wherever a text begins and ends;
- its pre-tokenizer always cuts there, too, or never cuts. What it cuts elsewhere depends on the text up to the next
  character that is no space at most, and for the end of a text it does what it does before a space: this is so for
  the patterns in use (GPT-2, cl100k, o200k and those like them), and is tried on some of the texts.
"""

import json
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from string import ascii_letters, digits, punctuation
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

_Paragraph = tuple[str, str, str]  # up to its first cut, up to its last one, and the rest

_CUT = re.compile(r"(?<=[!-~])(?= [A-Za-z])")
_ACROSS = re.compile(r"[!-~][ ▁Ġ]")  # in a vocabulary: a space, SentencePiece's and GPT-2's for one
_BETWEEN = "\n\n"  # lm-eval's examples
_TRIED = 16  # texts
_NORMALIZERS = {"NFC", "Replace"}
_PRE_TOKENIZERS = {"ByteLevel", "Metaspace", "Split", "Digits"}


def can_be_cut(tokenizer: "PreTrainedTokenizerFast") -> bool:
    """Whether the conditions above hold of a tokenizer, but for what is tried on texts."""
    backend = tokenizer.backend_tokenizer
    parts = json.loads(backend.to_str())
    model, added = parts["model"], parts["added_tokens"]
    if model["type"] != "BPE" or any(
        model.get(part) for part in ("dropout", "continuing_subword_prefix", "end_of_word_suffix")
    ):
        return False
    normalizers, pre_tokenizers = _steps(parts["normalizer"]), _steps(parts["pre_tokenizer"])
    if {one["type"] for one in normalizers} - _NORMALIZERS or {one["type"] for one in pre_tokenizers} - _PRE_TOKENIZERS:
        return False
    if any(one["type"] == "Replace" and one["pattern"] != {"String": " "} for one in normalizers):
        return False
    if any(one["lstrip"] or one["rstrip"] for one in added):
        return False
    return _pre_tokenizes_apart(backend, bool(model.get("ignore_merges"))) and not any(
        _ACROSS.search(token) for token in chain(model["vocab"], (one["content"] for one in added))
    )


def _steps(part: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The steps of a part of a tokenizer."""
    if part is None:
        return []
    inner = part.get("normalizers") or part.get("pretokenizers")
    return [step for one in inner for step in _steps(one)] if inner else [part]


def _pre_tokenizes_apart(backend: Any, ignores_merges: bool) -> bool:
    if backend.pre_tokenizer is None:
        return not ignores_merges
    starts = []
    for character in ascii_letters + digits + punctuation:
        text = f"a{character} bc"
        if backend.normalizer is not None:
            text = backend.normalizer.normalize_str(text)
        starts.append({start for _, (start, _) in backend.pre_tokenizer.pre_tokenize_str(text)})
    never = all(found == {0} for found in starts)
    return all(2 in found for found in starts) or (never and not ignores_merges)


def encode(
    texts: Sequence[tuple[str, str]], tokenizer: "PreTrainedTokenizerFast", **options: bool
) -> list[list[int]] | None:
    """The token ids of texts by a tokenizer that can be cut, or None where cutting changes those of a text tried.

    texts: each in two parts; what some share should be in the first, for only there they are cut.
    options: as the tokenizer's call takes them; special tokens may come before and after a text.
    """
    known: dict[str, _Paragraph] = {}
    cut = [list(_pieces(*text, known)) for text in texts]
    distinct = list(dict.fromkeys(chain.from_iterable(cut)))
    bare = {"add_special_tokens": False, "verbose": False}
    ids = dict(zip(distinct, tokenizer(distinct, **bare)["input_ids"], strict=True))
    (alone,), (dressed,) = tokenizer(["a"], **bare)["input_ids"], tokenizer(["a"], **options)["input_ids"]
    at = next((n for n in range(len(dressed)) if dressed[n : n + len(alone)] == alone), 0)
    before, after = dressed[:at], dressed[at + len(alone) :]
    found = [[*before, *chain.from_iterable(ids[piece] for piece in pieces), *after] for pieces in cut]
    tried = sorted(range(len(texts)), key=lambda n: -len(cut[n]))[:_TRIED]
    whole = tokenizer(["".join(texts[n]) for n in tried], verbose=False, **options)["input_ids"]
    return found if [found[n] for n in tried] == whole else None


def _pieces(first: str, second: str, known: dict[str, _Paragraph]) -> Iterator[str]:
    """A text cut around each blank line, at the last place before it and at the first one behind it."""
    waiting = ""
    for number, paragraph in enumerate(first.split(_BETWEEN)):
        if paragraph not in known:
            known[paragraph] = _cut(paragraph)
        start, middle, end = known[paragraph]
        waiting += (_BETWEEN if number else "") + start
        if end:
            yield waiting
            if middle:
                yield middle
            waiting = end
    yield waiting + second


def _cut(paragraph: str) -> _Paragraph:
    cuts = [found.start() for found in _CUT.finditer(paragraph)]
    if not cuts:
        return paragraph, "", ""
    return paragraph[: cuts[0]], paragraph[cuts[0] : cuts[-1]], paragraph[cuts[-1] :]
