"""An lm-eval model that scores what requests share once: `lm_eval --model datatrial --model_args pretrained=…`."""

import logging
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from lm_eval.api.registry import register_model
from lm_eval.models.huggingface import HFLM
from tqdm import tqdm  # type: ignore[import-untyped]
from transformers.utils import cached_file

from datatrial.errors import ModelError
from datatrial.foreign.model_files import ADAPTER_WEIGHTS
from datatrial.likelihood.prepared import Encoded, Prepared, Text, Tokens, key_of
from datatrial.likelihood.replicas import Replicas, other_devices
from datatrial.likelihood.scorer import Scorer
from datatrial.likelihood.tokens import TokenizingLM
from datatrial.records import Progress

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

Item = tuple[str, int]  # the name of a task, and the number of the document in it
Answer = tuple[float, bool]  # log-likelihood in nats, and whether the continuation is the greedy one

_PREPARED = Prepared()  # what the models of this process share
_NO_NUMBER = "the model gives no number for it"
_LOGGED = 10  # failures of a call that are logged one by one

logger = logging.getLogger(__name__)


@register_model("datatrial")
class DatatrialLM(TokenizingLM):
    """lm-eval's `hf` model with log-likelihoods from a `Scorer`; arguments, truncation and generation are `hf`'s.

    `batch_size` counts for generation only. The log-softmax is taken in float32 whatever the weights are in, as `hf`
    does with `softmax_dtype=float32`.
    """

    batch_size_per_gpu: int | str

    def __init__(
        self,
        pretrained: Any,
        *,
        devices: int | str = 1,
        progress: Progress | None = None,
        journal: Path | None = None,
        prepared: Prepared = _PREPARED,
        leaves_out: bool = False,
        **settings: Any,
    ):
        """Settings are those of `hf`.

        devices: how many GPUs score, each with a copy of the model, or "all".
        progress: told how far log-likelihoods (in tokens) and generation (in requests) are; without it bars are shown.
        prepared: where the tokens and tries of requests are kept for the next model.
        journal: a folder in which finished log-likelihoods are kept, to go on from after an interruption.
        leaves_out: whether the caller leaves the items in `failures` out. lm-eval itself would take an answer that is
            no number for the likeliest.

        Raises: ModelError for an encoder-decoder, for a model of which part lies on disk, when a model cannot be
        copied to so many devices, for pickled weights, and for a model whose own code should be run.
        """
        super().__init__(pretrained, **_safely(pretrained, settings))
        if self.model.device.type == "meta":
            raise ModelError(
                "part of this model lies outside of memory, which datatrial does not score: use `--model hf`"
            )
        self.failures: dict[Item, str] = {}  # items that could not be scored, and why; they have NaN
        self.continuations: dict[Item, list[int]] = {}  # tokens of each choice of an item
        self._progress, self._prepared, self._journal = progress, prepared, journal
        self._leaves_out = leaves_out
        self._counted = dict.fromkeys(("requests", "truncated", "tokens", "distinct_tokens", "request_tokens"), 0)
        self._notes_said = 0
        self._copies = [] if devices == 1 else self._copy(devices, pretrained, settings)

    def _get_backend(self, *args: Any, **options: Any) -> None:
        super()._get_backend(*args, **options)
        if self.backend != "causal":
            raise ModelError("this model is an encoder-decoder, which datatrial does not score: use `--model hf`")

    def _copy(self, devices: int | str, pretrained: Any, settings: Mapping[str, Any]) -> list[Any]:
        if not isinstance(pretrained, str) or settings.get("parallelize") or hasattr(self, "accelerator"):
            raise ModelError("`devices` is for a model that one process loads from a path and that fits on one GPU")
        if self.mixed_precision_dtype is not None:  # which is a state of a thread
            raise ModelError("`devices` does not go with `mixed_precision_dtype`")
        names = other_devices(self.device, devices)
        return [HFLM(pretrained, **{**_safely(pretrained, settings), "device": name}).model for name in names]

    @cached_property
    def scorer(self) -> Scorer | Replicas:
        """Made when it is first used, for it tries the model out."""
        return Replicas([self.model, *self._copies]) if self._copies else Scorer(self.model)

    @property
    def notes(self) -> list[str]:
        """What people should know of how log-likelihoods were taken."""
        return self.scorer.notes if self._counted["requests"] else []

    def recorded(self) -> dict[str, Any]:
        """How log-likelihoods were taken: the method, the sizes of forward passes, and counts of requests and tokens.

        `tokens` went through the model for requests of `request_tokens`, of which `distinct_tokens` are distinct.
        """
        if not self._counted["requests"]:
            return {}
        return {**self.scorer.recorded(), **self._counted}

    def loglikelihood(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[Answer]:
        """The log-likelihood of each continuation, and whether it is the greedy one.

        Raises: ModelError when the tokenizer does not do for the model, or when an item cannot be scored; if such items
        are left out, when none is left.
        """
        if self.enable_thinking:
            return super().loglikelihood(requests, disable_tqdm)  # type: ignore[no-any-return]  # it refuses
        if self.prefix_token_id is None:
            raise ModelError("its tokenizer has no token to begin or end a text with: say which in `prefix_token_id`")
        texts = [request.args for request in requests]
        key = key_of(texts, self.max_length, *self.tokens_depend_on)
        encoded = self._prepared.get(key, lambda: Encoded.of(self.encode(texts), self.max_length))
        self._fail({_item(requests[place]): why for place, why in encoded.unanswerable.items()}, requests)
        answers = self._answer(encoded, disable_tqdm)
        lost = [n for n, (value, _) in enumerate(answers) if math.isnan(value) and n not in encoded.unanswerable]
        self._fail({_item(requests[place]): _NO_NUMBER for place in lost}, requests)
        self._remember(texts, answers)
        for request, tokens in zip(requests, encoded.continuations, strict=True):
            self.continuations.setdefault(_item(request), []).append(tokens)
        return answers

    def loglikelihood_rolling(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood of each text, read in windows as `hf` cuts it.

        Raises: ModelError as `loglikelihood` does.
        """
        size, self.batch_size_per_gpu = self.batch_size_per_gpu, sys.maxsize  # all windows in one trie
        try:
            answers: list[float] = super().loglikelihood_rolling(requests, disable_tqdm or self._progress is not None)
        finally:
            self.batch_size_per_gpu = size
        failed = [request for request, answer in zip(requests, answers, strict=True) if math.isnan(answer)]
        self._fail({_item(request): _NO_NUMBER for request in failed}, requests)
        return answers

    def _loglikelihood_tokens(
        self, requests: Sequence[Tokens], disable_tqdm: bool = False, override_bs: int | None = None
    ) -> list[Answer]:
        """As that of `hf`: what others call who have tokens already, such as its rolling log-likelihood."""
        answers = self._answer(Encoded.of(requests, self.max_length), disable_tqdm)
        self._remember([text for text, _, _ in requests], answers)
        return answers

    def _answer(self, encoded: Encoded, disable_tqdm: bool) -> list[Answer]:
        log_likelihood, greedy = [math.nan] * encoded.requests, [False] * encoded.requests
        if len(encoded.trie):
            with self._telling(disable_tqdm) as progress, self._mixed_precision():
                found = self.scorer.score(encoded.trie, encoded.requests, progress, self._journal)
            log_likelihood, greedy = found.log_likelihood.tolist(), found.greedy.tolist()
            self._count(encoded, found.tokens)
        for place in encoded.empty:
            log_likelihood[place], greedy[place] = 0.0, True
        return list(zip(log_likelihood, greedy, strict=True))

    def _count(self, encoded: Encoded, tokens: int) -> None:
        counts = (encoded.requests, encoded.truncated, tokens, encoded.trie.distinct, encoded.trie.total)
        for name, count in zip(self._counted, counts, strict=True):
            self._counted[name] += count
        if encoded.truncated:
            said = "%s of %s requests were longer than the model's %s tokens and lost their beginning"
            logger.warning(said, encoded.truncated, encoded.requests, self.max_length)
        for note in self.scorer.notes[self._notes_said :]:
            logger.warning(note)
        self._notes_said = len(self.scorer.notes)

    def _fail(self, failures: Mapping[Item, str], requests: "Sequence[Instance]") -> None:
        """Logs which items of the requests cannot be scored."""
        self.failures.update(failures)
        said = [f"{task}, item {number}: {why}" for (task, number), why in failures.items()]
        if said and all(_item(request) in self.failures for request in requests):
            raise ModelError(f"not a single item can be scored; {said[0]}")
        if said and not self._leaves_out:
            more = f"; {len(said) - 1} more items cannot be scored either" if len(said) > 1 else ""
            raise ModelError(f"{said[0]}{more}. `--limit` or `--samples` leave items out")
        for one in said[:_LOGGED]:
            logger.error("not scored: %s", one)
        if len(said) > _LOGGED:
            logger.error("not scored: %s more items", len(said) - _LOGGED)

    def _remember(self, texts: Sequence[Text | None], answers: Sequence[Answer]) -> None:
        """Puts answers into lm-eval's cache, as `hf` does."""
        for text, answer in zip(texts, answers, strict=True):
            if text is not None and not math.isnan(answer[0]):
                self.cache_hook.add_partial("loglikelihood", text, answer)

    @contextmanager
    def _telling(self, disable_tqdm: bool) -> Iterator[Progress]:
        if self._progress:
            yield self._progress
            return
        with tqdm(desc="Log-likelihoods", unit="token", unit_scale=True, disable=disable_tqdm or self.rank != 0) as bar:

            def tell(done: float, total: float, what: str) -> None:
                bar.total = total
                bar.update(done - bar.n)

            yield tell

    def _mixed_precision(self) -> torch.autocast:
        dtype = self.mixed_precision_dtype
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def generate_until(self, requests: "list[Instance]", disable_tqdm: bool = False) -> list[str]:
        """As `hf` generates."""
        self._generated, self._to_generate = 0, len(requests)
        return super().generate_until(requests, disable_tqdm or self._progress is not None)  # type: ignore[no-any-return]

    def _model_generate(self, context: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        tokens: torch.Tensor = super()._model_generate(context, *args, **options)
        self._generated += len(context)
        if self._progress:
            self._progress(self._generated, self._to_generate, "requests")
        return tokens


def _safely(pretrained: Any, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which `hf` loads weights from safetensors alone, and runs no code of a model's own.

    Raises: ModelError where they ask for that code, or for an adapter whose weights are pickled.
    """
    if settings.get("trust_remote_code"):
        raise ModelError("datatrial never runs code that comes with a model: leave trust_remote_code out")
    revision = settings.get("revision", "main")
    adapter = settings.get("peft")
    optional = {"revision": revision, "_raise_exceptions_for_missing_entries": False}
    if adapter and not cached_file(adapter, ADAPTER_WEIGHTS, **optional):
        why = "a pickle can run code when it is loaded, so none is read"
        raise ModelError(f"{adapter} has no {ADAPTER_WEIGHTS}: {why}")
    loads = isinstance(pretrained, str) and not settings.get("gguf_file")
    return {**settings, **({"use_safetensors": True} if loads else {})}


def _item(request: "Instance") -> Item:
    return request.task_name, request.doc_id
