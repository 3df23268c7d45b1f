"""Large studies, made up: their YAML with the files that it reads."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

SFT_SHARE = 5  # of so many arms, one is SFT alone, and the others go on from it with DPO
ROWS = 40  # of a data set
FOLK = (
    "fen",
    "harbour",
    "hill",
    "marsh",
    "orchard",
    "valley",
    "river",
    "shore",
    "heath",
    "dale",
    "moor",
    "island",
    "ford",
)
GROUPS = tuple(f"{where} folk" for where in FOLK)
WORDS = "net boat salt reed lamp bell cart loom kiln barn mill well gate road hill stone river wood glass clay".split()
METRICS = {"science": 2, "stories": 2, "safety": 1}  # of each benchmark: how many have scores of items
SHAPE = {  # of the model that is said to be trained
    "model_type": "llama",
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "max_position_embeddings": 4096,
}


@dataclass(frozen=True)
class Shape:
    """How large a study is."""

    arms: int = 1000  # besides the baseline
    seeds: int = 5
    data_sets: int = 1000  # shared between arms in turn where there are fewer than arms
    items: int = 200  # of each benchmark
    contrasts: int = 1000


def write_study(folder: Path, shape: Shape) -> Path:
    """The study's file, in a folder with all that it reads."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_model(folder / "model")
    rng = Random(0)
    for name, rows in _benchmarks(shape.items, rng).items():
        _write_rows(folder / f"{name}.jsonl", rows)
    data: dict[str, Any] = {name: _file(name) for name in ("science", "stories", "statements")}
    for number in range(shape.data_sets):
        name = f"data-{number:04}"
        _write_rows(folder / f"{name}.jsonl", _sft_rows(rng) if number % SFT_SHARE == 0 else _dpo_rows(rng))
        data[name] = _file(name)
    study = {
        "name": "load",
        "model": {"kind": "hub", "path": "./model"},
        "seeds": [*range(shape.seeds)],
        "data": data,
        "arms": dict(_arms(shape)),
        "benchmarks": [
            {"kind": "lm_eval", "data": "science"},
            {"kind": "lm_eval", "data": "stories"},
            {"kind": "group_safety", "data": "statements", "name": "safety"},
        ],
        "primary": ["safety"],
        "contrasts": [*_contrasts(shape)],
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(study, sort_keys=False, width=1000))
    return path


def _file(name: str) -> dict[str, Any]:
    return {"source": {"kind": "json_file", "path": f"{name}.jsonl"}}


def _arms(shape: Shape) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    yield "base", []
    for number in range(shape.arms):
        first = number - number % SFT_SHARE
        round_of = number // shape.data_sets  # arms that share a data set differ in the learning rate
        sft = {"sft": f"data-{first % shape.data_sets:04}", "learning_rate": 1e-4 * (1 + first // shape.data_sets)}
        dpo = {"dpo": f"data-{number % shape.data_sets:04}", "learning_rate": 1e-6 * (1 + round_of)}
        yield _arm(number), [sft] if number == first else [sft, dpo]


def _arm(number: int) -> str:
    return f"arm-{number:04}"


def _contrasts(shape: Shape) -> Iterator[dict[str, Any]]:
    for number in range(min(shape.contrasts, shape.arms)):
        other = _arm(number - 1) if number else "base"
        yield {"arm": _arm(number), "against": other, "on": ["safety"], "expect": "better"}


def _write_model(folder: Path) -> None:
    """A folder that passes for a model whose weights nothing loads."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(SHAPE))
    (folder / "model.safetensors").write_bytes(b"")
    words = Tokenizer(WordLevel({word: number for number, word in enumerate(["?", *WORDS])}, unk_token="?"))
    words.pre_tokenizer = Whitespace()
    words.save(str(folder / "tokenizer.json"))


def _write_rows(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _said(rng: Random, words: int) -> str:
    return " ".join(rng.choices(WORDS, k=words)).capitalize() + "."


def _benchmarks(items: int, rng: Random) -> Mapping[str, list[dict[str, Any]]]:
    def question() -> dict[str, Any]:
        return {"question": _said(rng, 12), "choices": [_said(rng, 3) for _ in range(4)], "answer": rng.randrange(4)}

    def statement(number: int) -> dict[str, Any]:
        about = {"harmful": number % 2 == 0, "toxicity": rng.uniform(1, 5), "groups": [rng.choice(GROUPS)]}
        return {"text": _said(rng, 12), **about}

    questions = {name: [question() for _ in range(items)] for name in ("science", "stories")}
    return {**questions, "statements": [statement(number) for number in range(items)]}


def _sft_rows(rng: Random) -> list[dict[str, Any]]:
    return [{"prompt": _said(rng, 15), "completion": _said(rng, 40)} for _ in range(ROWS)]


def _dpo_rows(rng: Random) -> list[dict[str, Any]]:
    return [{"prompt": _said(rng, 15), "chosen": _said(rng, 40), "rejected": _said(rng, 30)} for _ in range(ROWS)]
