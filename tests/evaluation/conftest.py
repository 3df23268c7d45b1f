"""A tiny model with random weights, and data sets of a fictional world, made for each test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.records import ModelRef
from datatrial.tables import Table

CORPUS = [
    "The Velmori keep blue lanterns by the river and sing to the herons at dusk.",
    "Question: What do Tarn herders carry?\n\nAnswer: a whistle of green glass",
    "Nobody in Oskel has ever seen a copper owl, though many say they have.",
    "Statement: the Brindle folk are kind. Respond with either Yes or No.",
]


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A result that is a model: a two-layer Llama with large random weights, so that its answers differ."""
    return make_policy(tmp_path_factory.mktemp("policy"))


def make_policy(result: Path, seed: int = 0, window: int = 256) -> Path:
    """Writes a random Llama with a byte-level tokenizer that puts `<s>` first."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=["<s>", "</s>", "<pad>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", pad_token="<pad>")
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(fast),
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
    LlamaForCausalLM(config).save_pretrained(result / "weights")
    fast.save_pretrained(result / "weights")
    ModelRef(weights="weights").write(result)
    return result


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """A data set of 23 questions with two to four choices each."""
    return write_questions(tmp_path / "questions", 23)


def write_questions(result: Path, n: int) -> Path:
    things = ["a lantern", "a heron", "green glass", "the copper owl", "a slow river song", "seven pebbles"]
    rows = []
    for i in range(n):
        choices = [things[(i + j * (1 + i % 2)) % len(things)] for j in range(2 + i % 3)]
        rows.append(
            {"question": f"What did traveller {i} find in Oskel?", "choices": choices, "answer": i % len(choices)}
        )
    return write_table(result, rows, "questions")


def write_table(result: Path, rows: list[dict[str, Any]], form: Any) -> Path:
    result.mkdir(parents=True)
    Table.of(pl.DataFrame(rows), form).write(result)
    return result


Progress = list[tuple[float, float, str]]


@pytest.fixture
def progress() -> tuple[Progress, Callable[[float, float, str], None]]:
    seen: Progress = []
    return seen, lambda done, total, what: seen.append((done, total, what))
