"""Values of sequences are those that transformers' own forward pass gives each of them alone."""

import math
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    BloomConfig,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    OPTConfig,
)

from datatrial.likelihood.budget import Budget
from datatrial.likelihood.values import Valuer

VOCABULARY, PAD = 60, 59
SMALL = {"vocab_size": VOCABULARY, "pad_token_id": PAD, "num_labels": 1, "bos_token_id": 0, "eos_token_id": 1}
LLAMA = {**SMALL, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
OTHER = {**SMALL, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
CONFIGS: dict[str, Any] = {
    "llama": LlamaConfig(**LLAMA, initializer_range=0.2),
    "mistral with a window shorter than the prompts": MistralConfig(
        **LLAMA, sliding_window=7, num_key_value_heads=2, initializer_range=0.2
    ),
    "gemma 2": Gemma2Config(**LLAMA, head_dim=8, sliding_window=9, num_key_value_heads=2, initializer_range=0.2),
    "gpt-2": GPT2Config(**SMALL, n_embd=32, n_layer=2, n_head=4, initializer_range=0.2),
    "gpt-neox": GPTNeoXConfig(**OTHER, intermediate_size=48, initializer_range=0.2),
    "opt": OPTConfig(**OTHER, ffn_dim=48, word_embed_proj_dim=32, init_std=0.2),
    "bloom, whose positions are distances": BloomConfig(
        **SMALL, hidden_size=32, n_layer=2, n_head=4, initializer_range=0.2
    ),
}
SMALLEST = Budget(row=1, tokens=1, logits=1, keep=1)
ONE_ROW = Budget(row=10**6, tokens=10**6, logits=10**6, keep=10**6)


def silent(done: float, total: float, what: str) -> None:
    pass


def classifier(name: str = "llama") -> Any:
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(CONFIGS[name]).eval()


def conversations(seed: int = 0) -> list[list[int]]:
    """Prompts of which each has several answers; one answer is empty, one begins another, one comes twice."""
    rng = Random(seed)

    def text(low: int, high: int) -> list[int]:
        return [rng.randrange(2, PAD) for _ in range(rng.randint(low, high))]

    found = [prompt + text(0, 9) for prompt in (text(1, 40) for _ in range(6)) for _ in range(3)]
    return [*found, found[0][:-1] or [5], found[1], []]


def alone(model: Any, sequences: list[list[int]]) -> list[float]:
    """What transformers' own forward pass says of each sequence by itself."""
    with torch.no_grad():
        return [float(model(input_ids=torch.tensor([ids])).logits[0, 0]) if ids else math.nan for ids in sequences]


@pytest.mark.parametrize("name", CONFIGS)
def test_values_are_those_of_each_sequence_alone(name: str) -> None:
    model, sequences = classifier(name), conversations()
    found = Valuer(model).values(sequences, silent)
    assert found.tolist() == pytest.approx(alone(model, sequences), abs=1e-4, nan_ok=True)
    assert found.std(where=~torch.isnan(torch.tensor(found)).numpy()) > 0.01  # else any order would do


@pytest.mark.parametrize("budget", [SMALLEST, Budget(row=16, tokens=40, logits=3, keep=4), ONE_ROW])
def test_they_do_not_depend_on_how_much_goes_through_the_model_at_a_time(budget: Budget) -> None:
    model, sequences = classifier(), conversations()
    valuer = Valuer(model)
    valuer._scorer.budget = budget
    found = valuer.values(sequences, silent)
    assert found.tolist() == pytest.approx(alone(model, sequences), abs=1e-4, nan_ok=True)
    assert found[1] == found[-2]


def test_prompts_go_through_the_model_once() -> None:
    told: list[tuple[float, float, str]] = []
    sequences = conversations()
    Valuer(classifier()).values(sequences, lambda *what: told.append(what))
    distinct = {tuple(ids[:n]) for ids in sequences for n in range(1, len(ids) + 1)}
    assert told[-1] == (told[-1][1], told[-1][1], "tokens")
    assert len(distinct) <= told[-1][1] < sum(map(len, sequences))


def test_an_adapter_and_its_own_head_count() -> None:
    torch.manual_seed(1)
    bare, sequences = classifier(), conversations()
    lora = LoraConfig(task_type="SEQ_CLS", init_lora_weights=False, target_modules=["q_proj", "down_proj"])
    before = alone(bare, sequences)
    model = get_peft_model(bare, lora).eval()
    found = Valuer(model).values(sequences, silent)
    assert found.tolist() == pytest.approx(alone(model, sequences), abs=1e-4, nan_ok=True)
    assert found.tolist() != pytest.approx(before, abs=1e-2, nan_ok=True)


def test_what_is_no_number_spoils_no_other_sequence() -> None:
    model = classifier()
    sequences = [ids for ids in conversations() if ids]
    spoilt = [number for number, ids in enumerate(sequences) if 7 in ids]
    model.get_input_embeddings().weight.data[7] = math.nan
    found = Valuer(model).values(sequences, silent)
    assert 0 < len(spoilt) < len(sequences)
    assert [number for number, value in enumerate(found) if math.isnan(value)] == spoilt
    assert found.tolist() == pytest.approx(alone(model, sequences), abs=1e-4, nan_ok=True)


def test_what_was_interrupted_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, sequences = classifier(), conversations()
    whole = Valuer(model).values(sequences, silent)
    valuer = Valuer(model)
    valuer._scorer.budget = Budget(row=16, tokens=40, logits=3, keep=4)
    told: list[float] = []

    def interrupt(done: float, total: float, what: str) -> None:
        told.append(done)
        if done > total / 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        valuer.values(sequences, interrupt, tmp_path)
    calls = []
    forward = model.base_model.forward
    monkeypatch.setattr(model.base_model, "forward", lambda *a, **k: calls.append(1) or forward(*a, **k))
    again = valuer.values(sequences, silent, tmp_path)
    assert len(calls) < len(told)
    assert again.tolist() == pytest.approx(whole.tolist(), abs=1e-5, nan_ok=True)
