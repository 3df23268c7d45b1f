"""Token ids of requests as lm-eval makes them, of many texts at a time."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any
from uuid import uuid4

from lm_eval.models.huggingface import HFLM
from lm_eval.models.utils import has_bos_prefix
from transformers import TokenizersBackend

from datatrial.likelihood import pieces
from datatrial.likelihood.prepared import Text, Tokens

_AT_ONCE = 2**14  # requests whose texts are tokenized together
_Asked = tuple[str, bool | None]  # a text, and whether special tokens are added (None: as the tokenizer does)
_Parts = tuple[str, str]  # of a text: what others may share, and the rest


class TokenizingLM(HFLM):  # type: ignore[misc]
    """lm-eval's `hf` model, quicker at tokenizing: what texts share only once, and many in a call of the tokenizer.

    What is tokenized and where a context ends stays lm-eval's: `_encode_pair` is its own, and asks `tok_encode`.
    """

    _known: Mapping[_Asked, list[int]] = {}

    def tok_encode(
        self, string: str, add_special_tokens: bool | None = None, left_truncate_len: int | None = None, **options: Any
    ) -> list[int]:
        known = self._known.get((string, add_special_tokens))
        if known is None or left_truncate_len:
            known = super().tok_encode(string, add_special_tokens, left_truncate_len, **options)
        return known

    def encode(self, texts: Sequence[Text]) -> Iterator[Tokens]:
        """The tokens that `TemplateLM.loglikelihood` (lm-eval 0.4.13) makes of contexts and continuations.

        It fails on a continuation without tokens after an empty context; here it has none.
        """
        for start in range(0, len(texts), _AT_ONCE):
            some = texts[start : start + _AT_ONCE]
            self._known = self._encode_all(dict(asked for text in some for asked in _asked_of(*text)))
            for context, continuation in some:
                pair = self._encode_pair(context, continuation) if context else self._encode_first(continuation)
                yield (context, continuation), *pair
        self._known = {}

    def _encode_first(self, continuation: str) -> tuple[list[int], list[int]]:
        ids = self.tok_encode(continuation, add_special_tokens=False)
        return (ids[:1], ids[1:]) if ids[:1] == [self.prefix_token_id] else ([self.prefix_token_id], ids)

    def _encode_all(self, asked: Mapping[_Asked, _Parts]) -> dict[_Asked, list[int]]:
        """What `tok_encode` gives for each."""
        if not self._takes_batches:
            return {one: super(TokenizingLM, self).tok_encode(*one) for one in asked}
        bos = self.tokenizer.decode(self.prefix_token_id)
        bare = [one for one in asked if one[1] is False or has_bos_prefix(one[0], bos)]
        others = list(asked.keys() - bare)
        default = {} if self.add_bos_token is None else {"add_special_tokens": self.add_bos_token}
        return {
            **dict(zip(bare, self._encode_batch([asked[one] for one in bare], add_special_tokens=False), strict=True)),
            **dict(zip(others, self._encode_batch([asked[one] for one in others], **default), strict=True)),
        }

    def _encode_batch(self, texts: list[_Parts], **options: bool) -> list[list[int]]:
        if not texts:
            return []
        ids = pieces.encode(texts, self.tokenizer, **options) if self._can_be_cut else None
        return ids or self.tokenizer(["".join(text) for text in texts], verbose=False, **options)["input_ids"]

    @cached_property
    def _can_be_cut(self) -> bool:
        return pieces.can_be_cut(self.tokenizer)

    @property
    def _takes_batches(self) -> bool:
        """Whether it treats a text alone as one among others: where the code for both is transformers' own."""
        return getattr(type(self.tokenizer), "_encode_plus", None) is TokenizersBackend._encode_plus

    @cached_property
    def tokens_depend_on(self) -> tuple[Any, ...]:
        """The same for models whose tokens are the same; one that cannot be compared equals none but itself."""
        kind = type(self.tokenizer)
        settings = (kind.__module__, kind.__qualname__, self.add_bos_token, self.prefix_token_id)
        if not self._takes_batches:
            return (*settings, uuid4().hex)
        backend = self.tokenizer.backend_tokenizer
        # What a generation sets; `encode` unsets both, too.
        backend.no_padding()
        backend.no_truncation()
        return (*settings, self.tokenizer.split_special_tokens, backend.to_str())


def _asked_of(context: str, continuation: str) -> Iterator[tuple[_Asked, _Parts]]:
    """What lm-eval has tokenized for a request."""
    if not context:
        yield (continuation, False), ("", continuation)
        return
    bare = context.rstrip()
    yield (bare, None), (bare, "")
    yield (context + continuation, None), (bare, context[len(bare) :] + continuation)
