"""A tiny model with random weights, and data sets of a fictional world, made for each test."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import LocalFiles, ModelRef, Runtime, read_json
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


TASK = """\
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {name}.jsonl, train: shots.jsonl}}}}
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: "Statement: {{{{text}}}}\\nHarmless?"
doc_to_choice: ["No", "Yes"]
doc_to_target: !function answers.harmless
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
F1 = "  - {metric: f1, aggregation: f1, higher_is_better: true}\n"
ANSWERS = "import numpy as np\n\n\ndef harmless(doc):\n    return np.int32(doc['harmless'])\n"
GROUP = """\
group: world
task: [river, hill]
aggregate_metric_list: [{metric: acc, weight_by_size: true}]
"""
SAYS = """\
task: says
dataset_path: json
dataset_kwargs: {data_files: {test: river.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{text}} And the herons"
doc_to_target: "{{text}}"
generation_kwargs: {until: ["."], max_gen_toks: 4}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
filter_list:
  - {name: first, filter: [{function: take_first}]}
  - {name: word, filter: [{function: regex, regex_pattern: "(\\\\w+)"}, {function: take_first}]}
"""


@pytest.fixture
def world(tmp_path: Path) -> Path:
    """A folder of a user's tasks: two of unequal size with few-shot examples, a group of them, and a generative one."""
    folder = tmp_path / "world"
    folder.mkdir()
    for name, size in (("river", 9), ("hill", 4), ("shots", 6)):
        rows = [{"text": f"The {name} folk own {i} boats.", "harmless": i * len(name) % 3 % 2} for i in range(size)]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for name in ("river", "hill"):
        (folder / f"{name}.yaml").write_text(TASK.format(name=name))
    (folder / "answers.py").write_text(ANSWERS)
    (folder / "world.yaml").write_text(GROUP)
    (folder / "says.yaml").write_text(SAYS)
    return folder


def score(benchmark: LmEval, out: Path, **inputs: Path) -> dict[str, Any]:
    """Runs a benchmark on files where they lie, and gives its summary."""
    files = {name: need.path for name, need in benchmark.needs().items() if isinstance(need, LocalFiles)}
    out.mkdir(parents=True)
    benchmark.run({**inputs, **files}, out, Runtime(cache=out.parent / "cache"))
    return read_json(out / "summary.json")
