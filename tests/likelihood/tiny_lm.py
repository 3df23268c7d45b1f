"""Tiny models with random weights and tokenizers of several kinds, and requests as lm-eval makes them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from lm_eval.api.instance import Instance
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    ByT5Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)

CORPUS = [
    "The Velmori keep blue lanterns by the river and sing to the herons at dusk.",
    "Question: What do Tarn herders carry?\n\nAnswer: a whistle of green glass",
    "Nobody in Oskel has ever seen a copper owl, though many say they have.",
]
VOCABULARY = 400
SPECIAL = ["<s>", "</s>", "<pad>", "<unk>"]
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def make_tokenizer(kind: str = "gpt-2", bos: bool = True) -> PreTrainedTokenizerBase:
    """kind: by whose normalizer and pre-tokenizer; "python" for one that is not written in Rust.

    bos: whether it has `<s>` and puts it first.
    """
    if kind == "python":
        return ByT5Tokenizer()
    backend = Tokenizer(models.Unigram() if kind == "unigram" else models.BPE(ignore_merges=kind == "llama-3"))
    split = {"llama-3": _CL100K, "qwen": _CL100K, "o200k": _O200K}.get(kind)
    if split:
        steps = [pre_tokenizers.Split(Regex(split), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
        backend.pre_tokenizer = pre_tokenizers.Sequence(steps)
        backend.normalizer = normalizers.NFC() if kind == "qwen" else None
    else:
        byte_level = kind == "gpt-2"
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(False) if byte_level else pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace() if kind in ("unigram", "mistral", "spaces") else decoders.ByteLevel()
    trainer: trainers.Trainer
    if kind == "unigram":
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCABULARY, special_tokens=SPECIAL, unk_token="<unk>", show_progress=False
        )
    else:
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
        )
    backend.train_from_iterator(CORPUS, trainer)
    if kind == "spaces":  # as Gemma's: the same merges, and nothing cut before
        backend.pre_tokenizer, backend.normalizer = None, normalizers.Replace(" ", "▁")
    if bos:
        backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>" if bos else None, eos_token="</s>", pad_token="<pad>"
    )


def make_model(seed: int = 0, window: int = 48) -> LlamaForCausalLM:
    """Two layers with large random weights, so that its answers differ."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=window,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    return LlamaForCausalLM(config).eval()


def save(folder: Path, seed: int = 0, bos: bool = True, **model: Any) -> str:
    make_model(seed, **model).save_pretrained(folder)
    make_tokenizer(bos=bos).save_pretrained(folder)
    return str(folder)


def instances(texts: Iterable[tuple[Any, ...]], task: str = "river", kind: Any = "loglikelihood") -> list[Instance]:
    """One request for each item of a task."""
    return [Instance(kind, {}, args, 0, (task, number, 1)) for number, args in enumerate(texts)]
