"""Models of two sizes with random weights, and tokenizers trained on the rows at hand: nothing to fetch."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import polars as pl
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

Size = Literal["25m", "135m"]
BOS, EOS = "<s>", "</s>"
SHAPES: dict[str, dict[str, Any]] = {
    "25m": {
        "vocab_size": 32_000,
        "hidden_size": 384,
        "num_hidden_layers": 7,
        "num_attention_heads": 6,
        "num_key_value_heads": 6,
        "intermediate_size": 1024,
        "max_position_embeddings": 4096,
    },
    "135m": {  # HuggingFaceTB/SmolLM-135M
        "vocab_size": 49_152,
        "hidden_size": 576,
        "num_hidden_layers": 30,
        "num_attention_heads": 9,
        "num_key_value_heads": 3,
        "intermediate_size": 1536,
        "max_position_embeddings": 2048,
    },
}
# Logits come out with a standard deviation of about 1.5 to 2: choices differ clearly, none is certain.
_STANDARD_DEVIATION = 0.08


def made(size: str, hub_root: Path, work: Path) -> Path:
    """The folder of a model and its tokenizer, made if it is not there yet."""
    folder = work / "models" / size
    if not (folder / "model.safetensors").exists():
        tokenizer = trained(hub_root, SHAPES[size]["vocab_size"], SHAPES[size]["max_position_embeddings"])
        tokenizer.save_pretrained(folder)
        torch.manual_seed(0)
        ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
        config = LlamaConfig(**SHAPES[size], **ids, tie_word_embeddings=True, initializer_range=_STANDARD_DEVIATION)
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def loaded(folder: Path, dtype: torch.dtype = torch.float32) -> tuple[Any, Any]:
    """The model of a folder, ready to score on a CPU, and its tokenizer."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval().requires_grad_(False)
    return model, AutoTokenizer.from_pretrained(folder)


def trained(hub_root: Path, size: int, longest: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer that begins every text with a BOS token, trained on the mirror's rows.

    Having seen the benchmarks, it needs fewer tokens for them than one trained on other text would.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=1,
        special_tokens=[BOS, EOS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_texts(hub_root), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A $B", special_tokens=[(BOS, 0), (EOS, 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOS, eos_token=EOS, pad_token=EOS, model_max_length=longest
    )


def _texts(hub_root: Path) -> Iterator[str]:
    """LIMA, HH, the stock benchmarks and SafeNLP's sentences."""
    for file in sorted(hub_root.glob("GAIR/lima/train.jsonl")):
        for line in file.read_text(encoding="utf-8").splitlines():
            yield from json.loads(line)["conversations"]
    for file in sorted(hub_root.glob("Anthropic/hh-rlhf/*/*.jsonl.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from (json.loads(line)["chosen"] for line in lines)
    for benchmark in ("allenai/ai2_arc", "baber/piqa", "Rowan/hellaswag", "cais/mmlu", "truthfulqa/truthful_qa"):
        for file in sorted((hub_root / benchmark).rglob("*.parquet")):
            for row in pl.read_parquet(file).iter_rows():
                yield from _strings(row)
    for file in sorted(hub_root.glob("microsoft/SafeNLP/data/toxiGen.json")):
        yield from (row["text"] for row in json.loads(file.read_text(encoding="utf-8")))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from _strings(list(value.values()))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _strings(below)
