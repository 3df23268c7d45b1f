"""A tiny base model and data sets in no time, for tests that train or score."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import polars as pl

from datatrial.component import Component
from datatrial.models.from_scratch import FromScratch
from datatrial.records import Form, ModelRef, Runtime
from datatrial.tables import Table
from datatrial.training.reward import Reward

BASE = FromScratch(
    corpus=("documents",),
    vocab_size=320,
    hidden_size=32,
    intermediate_size=64,
    layers=2,
    heads=2,
    max_positions=256,
    block_length=32,
    batch_size=8,
)
REWARD = Reward(learning_rate=1e-2, epochs=4, batch_size=4, max_length=80, held_out=0.25)  # learns to tell them apart
TRAINED = {"model.json", "adapter", "history.parquet", "training.json", "runs"}  # what a trained stage's folder holds
ADAPTER = {"adapter_config.json", "adapter_model.safetensors"}
ANIMALS = ("tarrik", "mollen", "vesp", "oquat", "brindle", "sumi")
COLOURS = ("red", "blue", "green", "grey")


def table(folder: Path, form: Form, rows: Sequence[dict[str, Any]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    Table.of(pl.DataFrame(rows), form).write(folder)
    return folder


def documents(folder: Path, n: int = 300) -> Path:
    rng = Random(1)
    rows = [{"text": f"A {rng.choice(ANIMALS)} is {rng.choice(COLOURS)}. It eats {n} plums."} for n in range(n)]
    return table(folder, "documents", rows)


def demonstrations(folder: Path, n: int = 24) -> Path:
    rows = [{"messages": [ask(k), {"role": "assistant", "content": COLOURS[k % 3]}]} for k in range(n)]
    return table(folder, "demonstrations", rows)


def comparisons(folder: Path, n: int = 24) -> Path:
    rows = [{"messages": [ask(k)], "chosen": COLOURS[k % 3], "rejected": COLOURS[3]} for k in range(n)]
    return table(folder, "comparisons", rows)


def ask(k: int) -> dict[str, str]:
    return {"role": "user", "content": f"What colour is {ANIMALS[k % len(ANIMALS)]} number {k}?"}


def result(task: Component, store: Path, name: str, **inputs: Path) -> Path:
    """The task's result, laid out as in a store: `store/kind/name`."""
    out = store / task.kind / name
    out.mkdir(parents=True)
    task.run(inputs, out, Runtime(cache=store / "cache"))  # type: ignore[attr-defined]
    return out


def base(store: Path, **settings: Any) -> Path:
    """A base model trained on a few documents."""
    out = store / "from_scratch" / "base"
    out.mkdir(parents=True)
    BASE.model_copy(update=settings).run({"corpus-0": documents(store / "data_set" / "documents")}, out, Runtime())
    return out


def comparisons_and_reward_model(store: Path, base: Path) -> tuple[Path, Path]:
    """48 comparisons, and the reward model that `REWARD` makes of them."""
    pairs = comparisons(store / "pairs", 48)
    return pairs, result(REWARD, store, "reward_model", policy=base, data=pairs)


def loaded_as(base: Path, store: Path, **changes: Any) -> Path:
    """The same weights as another model, such as one of `dtype="bfloat16"`."""
    out = store / "hub" / "-".join(map(str, changes.values()))
    out.mkdir(parents=True)
    replace(ModelRef.read(base), **changes).write(out)
    return out


def adapter_bytes(policy: Path) -> bytes:
    return (policy / "adapter" / "adapter_model.safetensors").read_bytes()


def summary(policy: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((policy / "training.json").read_text())
    return found


def curve(policy: Path, metric: str) -> list[float]:
    history = pl.read_parquet(policy / "history.parquet")
    return history.filter(pl.col("metric") == metric)["value"].to_list()
