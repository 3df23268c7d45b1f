"""Which model a step trains or scores: its shape and how many characters make a token, without loading anything."""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.externals import LocalExternal
from datatrial.hub import HubExternal
from datatrial.models._base import Model
from datatrial.models.from_scratch import FromScratch
from datatrial.models.hub import ADAPTER, Hub
from datatrial.records import HubFiles, read_json
from datatrial.shapes import Shape, shape_of

CHARACTERS_PER_TOKEN = 4.0  # OpenAI's rule of thumb for English, help.openai.com/articles/4936856
_ENGLISH_FROM = 32_000  # entries of a vocabulary with which it is taken to hold
_PER_HALVING = 0.22  # characters less for each halving of the vocabulary: 3.37 were measured with 4,000 on LIMA and HH
_LARGEST_TOKENIZER = 4_000_000  # bytes: a larger one takes longer to read than the rest of a plan

# A paragraph of our own, to see how long a tokenizer's tokens are in ordinary English.
ENGLISH = (
    "The library opens at nine on weekdays and at ten on Saturdays. If you have lost your card, ask at the desk for "
    "another; it costs two dollars and takes a few minutes. Why do leaves change their colour in autumn? As days grow "
    "shorter, trees stop making chlorophyll, and the yellow pigments that were there all summer become visible."
)
_SIZE_IN_NAME = re.compile(r"(?<![\d.])(\d+(?:\.\d+)?)\s*([bm])(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Policy:
    """What is known of a model before it is loaded."""

    name: str
    shape: Shape | None  # None: nothing is known of its size
    dtype: str
    quantized: bool  # NF4
    characters_per_token: float
    notes: tuple[str, ...] = ()  # where all this is from, and what is a guess
    guess: bool = False  # whether its size is read from its name alone


def policy_of(step: Step, store: Store) -> Policy:
    """The model that a step makes or goes on from: the base model below it."""
    task = step.task
    if isinstance(task, FromScratch):
        return _from_scratch(task, step, store)
    if isinstance(task, Hub):
        return _existing(task, step, store)
    if isinstance(task, Model):
        characters, why = _assumed_text(_ENGLISH_FROM)
        notes = (f"size of a model of kind {task.kind}: unknown until it is made", *why)
        return Policy(task.kind, None, task.dtype, task.quantization == "nf4", characters, notes)
    return policy_of(step.inputs["policy"], store)


def _from_scratch(task: FromScratch, step: Step, store: Store) -> Policy:
    summary = _json(store.path(step) / "training.json")
    vocabulary = int(summary.get("vocabulary", task.vocab_size))
    shape = Shape(
        hidden=task.hidden_size,
        intermediate=task.intermediate_size,
        layers=task.layers,
        heads=task.heads,
        kv_heads=task.heads,
        head_width=task.hidden_size // task.heads,
        vocabulary=vocabulary,
        longest=task.max_positions,
        tied=True,
    )
    return Policy("from_scratch", shape, task.dtype, task.quantization == "nf4", *_assumed_text(vocabulary))


def _existing(task: Hub, step: Step, store: Store) -> Policy:
    folder = _folder(step)
    adapter_on = step.inputs.get("base")
    if adapter_on and folder and (folder / ADAPTER).exists():
        return policy_of(adapter_on, store)
    quantized = task.quantization == "nf4"
    name = Path(task.path).name if task.is_local else task.path
    shape = shape_of(_json(folder / "config.json")) if folder else None
    notes: tuple[str, ...] = ()
    guess = False
    if shape is None and (shape := published().get(name.lower())):
        notes = (f"shape of {name}: as published",)
    if shape is None and (found := _guessed(name)):
        shape, like, guess = *found, True
        notes = (f"shape of {name}: a guess, that of {like}, from the size in its name",)
    if shape is None:
        notes = (f"size of {name}: unknown until it is downloaded",)
    if adapter_on and not folder and shape is None:  # may be an adapter on the study's model
        return policy_of(adapter_on, store)
    characters, why = _text_of(folder, shape)
    return Policy(name, shape, task.dtype, quantized, characters, (*notes, *why), guess)


def _folder(step: Step) -> Path | None:
    """Where the model's files lie, if they are on this disk: nothing is downloaded."""
    external = step.externals.get("weights")
    if isinstance(external, LocalExternal):
        return external.path
    return cached(external.needs, external.commit) if isinstance(external, HubExternal) else None


def cached(needs: HubFiles, commit: str | None) -> Path | None:
    """A repository's snapshot in the hub's cache, found by the cache's layout, as importing its client takes long."""
    home = Path(os.environ.get("HF_HOME", "~/.cache/huggingface"))
    root = Path(os.environ.get("HF_HUB_CACHE", home / "hub")).expanduser()
    repo = root / f"{needs.type}s--{needs.repo.replace('/', '--')}"
    if commit is None and (head := repo / "refs" / needs.revision).is_file():
        commit = head.read_text().strip()
    snapshot = repo / "snapshots" / str(commit)
    return snapshot if commit and snapshot.is_dir() else None


def _guessed(name: str) -> tuple[Shape, str] | None:
    """The published shape nearest to the size that a name tells, such as 7b."""
    found = _SIZE_IN_NAME.search(name.rpartition("/")[2])
    if found is None:
        return None
    size = float(found[1]) * (1e9 if found[2] in "bB" else 1e6)
    name, shape = min(published().items(), key=lambda item: abs(math.log(item[1].parameters / size)))
    return shape, name


@cache
def published() -> dict[str, Shape]:
    """Shapes of well-known public models by hub id, in lower case."""
    data = json.loads((files(__package__) / "models.json").read_text(encoding="utf-8"))
    found = {}
    for model in data["models"]:
        further = {key: value for key, value in model.items() if key not in ("names", "shape")}
        found.update(dict.fromkeys(map(str.lower, model["names"]), Shape(*model["shape"], **further)))
    return found


def _text_of(folder: Path | None, shape: Shape | None) -> tuple[float, tuple[str, ...]]:
    file = folder / "tokenizer.json" if folder else None
    if file is None or not file.is_file() or file.stat().st_size > _LARGEST_TOKENIZER:
        return _assumed_text(shape.vocabulary if shape else _ENGLISH_FROM)
    from tokenizers import Tokenizer

    try:
        tokens = len(Tokenizer.from_file(str(file)).encode(ENGLISH, add_special_tokens=False).ids)
    except Exception:  # it raises nothing narrower; what is wrong with the file is told when it is read
        tokens = 0
    if not tokens:
        return _assumed_text(shape.vocabulary if shape else _ENGLISH_FROM)
    characters = len(ENGLISH) / tokens
    return characters, (f"{characters:.1f} characters a token: its tokenizer on a paragraph of English",)


def _assumed_text(vocabulary: int) -> tuple[float, tuple[str, ...]]:
    halvings = max(0.0, math.log2(_ENGLISH_FROM / vocabulary))
    characters = max(1.0, CHARACTERS_PER_TOKEN - _PER_HALVING * halvings)
    return characters, (f"{characters:.1f} characters a token: assumed for a vocabulary of {vocabulary:,}",)


def _json(file: Path) -> Mapping[str, Any]:
    try:
        found = read_json(file)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
