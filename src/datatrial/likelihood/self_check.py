"""Which way to get log-likelihoods is right for a model: found out by trying, before anything is scored.

Random texts, made so that each way does all it can do, are scored in each, and by plain forward passes over one text
at a time. What rounding changes is measured on the spot: it is what padded batches of plain forward passes change.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import torch

from datatrial.errors import first_line
from datatrial.likelihood.budget import Budget
from datatrial.likelihood.decoder import Decoder, looks_at_texts, without_adapter
from datatrial.likelihood.fallbacks import CachedContexts, PlainRows, selects_logits
from datatrial.likelihood.layout import Prefix
from datatrial.likelihood.method import Method, states_of
from datatrial.likelihood.random_texts import RandomTexts
from datatrial.likelihood.trie import Branch, Trie

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

_WINDOW = 512  # tokens; what lies beyond longer windows would take minutes to try on a CPU
_NOISE = 2.0  # times what padded batches change
_ROUNDING = 16.0  # times what the dtype alone lets one expect: more is none, even where padded batches change as much
_SHARE = 0.8  # of the answers must agree: rounding may send a token to other experts, and nothing is alike after that

_CANNOT = {
    "trie": "does not take block attention masks",
    "contexts": "does not go on from a copy of its cache",
    "rows": "answers otherwise in padded batches",
}
_INSTEAD = {
    "contexts": "contexts are cached instead, and what several of them begin with is read again for each",
    "rows": "each text is read by itself instead, and what several of them begin with is read again for each",
}


_RIGHT: set[tuple[object, ...]] = set()  # kinds of models that tries are right for


def method_for(model: "PreTrainedModel | PeftModel") -> tuple[Method, list[str]]:
    """As `choose`, but tries no second model out that differs from the first in its weights only.

    Where tries are wrong the next model is tried again: unsound weights may have been the reason.
    """
    kind = _kind(model)
    if kind in _RIGHT and not looks_at_texts(model):
        return Decoder(model), []
    method, notes = choose(model)
    if isinstance(method, Decoder):
        _RIGHT.add(kind)
    return method, notes


def _kind(model: "PreTrainedModel | PeftModel") -> tuple[object, ...]:
    """Code, config, numbers and device of a model: all that its forward pass consists of, but for its weights."""
    code = frozenset(type(module) for module in model.modules())  # adapters and quantized layers among them
    dtypes = frozenset(parameter.dtype for parameter in model.parameters())
    attention = getattr(model.config, "_attn_implementation", None)
    return code, model.config.to_json_string(), attention, dtypes, model.device.type


def choose(model: "PreTrainedModel | PeftModel") -> tuple[Method, list[str]]:
    """The first of tries, cached contexts and plain rows that agrees with plain forward passes, and what to say of it.

    Nothing is said where tries are right. The model is left as it was; torch's random numbers are not touched.
    """
    with _as_when_scoring(model):
        return _choose(model)


def _choose(model: "PreTrainedModel | PeftModel") -> tuple[Method, list[str]]:
    name, rows = f"this model ({type(without_adapter(model)).__name__})", PlainRows(model)
    trials = list(_trials(model))
    if not trials:
        return rows, [f"{name} gives no numbers for random texts: {_INSTEAD['rows']}"]
    eps = _eps(model)
    with _rounded_otherwise(without_adapter(model), eps):
        rounding = trials[0].compare(rows)
    refused: list[str] = []
    for way in (Decoder, CachedContexts):
        try:
            method: Method = way(model)
            found = [trial.compare(method) for trial in trials]
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # each model refuses in its own way what it was not made for
            refused.append(f"{_CANNOT[way.name]} ({shorten(first_line(error), 120, placeholder='…')})")
            continue
        if _agree(found, rounding, trials, eps):
            return method, [f"{name} {' and '.join(refused)}: {_INSTEAD[way.name]}"] if refused else []
        refused.append(f"{_CANNOT[way.name]} ({_difference(found)}; in padded batches {rounding.nats:.2g})")
    if not _agree([rounding], rounding, trials[:1], eps):
        refused.append(f"{_CANNOT['rows']} ({_difference([rounding])})")
    return rows, [f"{name} {' and '.join(refused)}: {_INSTEAD['rows']}"]


@dataclass(frozen=True)
class _Comparison:
    """How far a method's answers are from those of plain forward passes."""

    gaps: dict[int, torch.Tensor]  # [t] nats, of the targets read after so many kept prefixes
    nats: float  # the most that a log-likelihood differs by

    def gap(self, share: float) -> float:
        """The largest of a share of the answers, the smallest ones, among those that were found in the same way."""
        return max(float(found.quantile(share, interpolation="higher")) for found in self.gaps.values())


@dataclass(frozen=True)
class _Trial:
    """Requests, and what plain forward passes answer."""

    trie: Trie
    plain: Mapping[int, torch.Tensor]  # of each request, [t, vocabulary] log-probabilities at its targets

    def compare(self, method: Method) -> _Comparison:
        """A method's answers beside the plain ones, its rows and passes being so short that it needs several."""
        room = 4 * int(self.trie.lengths.max())
        gaps: dict[int, list[torch.Tensor]] = defaultdict(list)
        kept: list[tuple[Prefix, Any]] = []
        nats = 0.0
        for one in method.lay_out(self.trie, Budget(row=21, tokens=room, logits=room, keep=4)).passes:
            said = method.head(states_of(one, kept, method)[0]).float().log_softmax(-1)
            pick, targets = (torch.from_numpy(a).to(said.device) for a in (one.pick, one.targets))
            for request, start in zip(one.requests, one.starts, strict=True):
                asked = slice(start, start + len(self.plain[request]))
                off = _off(said[pick[asked]], self.plain[request])
                gaps[len(one.ancestry)].append(off.square().mean(-1).sqrt())
                nats = max(nats, abs(float(off.gather(-1, targets[asked, None]).sum())))
        return _Comparison({depth: torch.cat(found) for depth, found in gaps.items()}, nats)

    def rounding(self, eps: float) -> float:
        """What a dtype with this eps lets one expect of a gap: half of its digits, of what tells tokens apart."""
        finite = torch.cat([plain.masked_fill(plain.isinf(), torch.nan) for plain in self.plain.values()])
        spread = (finite - finite.nanmean(-1, keepdim=True)).square().nanmean(-1).sqrt()
        return float(eps**0.5 / 4 * spread.median())


def _agree(found: Sequence[_Comparison], rounding: _Comparison, trials: Sequence[_Trial], eps: float) -> bool:
    """Whether answers are as near to the plain ones as rounding explains: by what it does in batches, or its kind."""
    noise, expected = _NOISE * rounding.gap(_SHARE), [trial.rounding(eps) for trial in trials]
    return all(one.gap(_SHARE) <= min(noise + by, _ROUNDING * by) for one, by in zip(found, expected, strict=True))


def _trials(model: "PreTrainedModel | PeftModel") -> Iterator[_Trial]:
    """Those of which plain forward passes say anything."""
    texts = RandomTexts(without_adapter(model).config)
    for asked in (texts.with_shared_starts(), texts.across_the_window(_WINDOW)):
        branches = Trie.of(asked, texts.longest).branches
        plain = {branch.request: _plain(model, branch) for branch in branches}
        sound = [branch for branch in branches if not plain[branch.request].isnan().any()]
        if sound:
            yield _Trial(Trie(sound), {branch.request: plain[branch.request] for branch in sound})


def _plain(model: "PreTrainedModel | PeftModel", branch: Branch) -> torch.Tensor:
    """[t, vocabulary] the log-probabilities at a branch's targets, of a forward pass over it alone."""
    tokens = torch.from_numpy(branch.tokens)[None].to(model.device)
    last = {"logits_to_keep": len(branch.targets)} if selects_logits(model) else {}
    logits: torch.Tensor = model(input_ids=tokens, use_cache=False, **last).logits
    return logits[0, -len(branch.targets) :].float().log_softmax(-1)


def _off(said: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """How far log-probabilities are from others, in nats: not at all where both rule a token out."""
    return torch.where(said == plain, 0.0, said - plain).nan_to_num(torch.inf)


def _eps(model: "PreTrainedModel | PeftModel") -> float:
    """That of the coarsest numbers that a model computes with."""
    dtypes = {parameter.dtype for parameter in model.parameters() if parameter.is_floating_point()}
    if torch.get_float32_matmul_precision() != "highest":
        dtypes.add(torch.bfloat16)
    return max(float(torch.finfo(dtype).eps) for dtype in dtypes)


def _difference(found: Sequence[_Comparison]) -> str:
    nats = max(one.nats for one in found)
    return f"log-likelihoods differ by up to {nats:.2g} nats from plain forward passes"


@contextmanager
def _rounded_otherwise(model: "PreTrainedModel", eps: float) -> Iterator[None]:
    """With embeddings that differ by what rounding does to a number, as do those of every layer after them."""
    random = torch.Generator().manual_seed(0)

    def rounded(_: torch.nn.Module, __: Any, embeddings: torch.Tensor) -> torch.Tensor:
        by = 1 + eps * torch.randn(embeddings.shape, generator=random)
        return (embeddings.float() * by.to(embeddings.device)).to(embeddings.dtype)

    hook = model.get_input_embeddings().register_forward_hook(rounded)
    try:
        yield
    finally:
        hook.remove()


@contextmanager
def _as_when_scoring(model: torch.nn.Module) -> Iterator[None]:
    """Without dropout and gradients, and then as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():  # not inference_mode: what a model keeps for later could not be trained with
            yield
    finally:
        for module in training:
            module.training = True
