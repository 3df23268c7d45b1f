"""What cannot be trained on is said in one message, or cut and counted."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datatrial.errors import DataError, ModelError
from datatrial.records import ModelRef
from datatrial.training.sft import Sft
from tests import tiny

pytestmark = pytest.mark.slow
SFT = Sft(batch_size=4, max_length=1024, held_out=0)


def with_tokenizer(base: Path, out: Path, **changes: Any) -> Path:
    """The base model with other settings of its tokenizer; None takes one away."""
    weights = out / "weights"
    shutil.copytree(ModelRef.read(base).weights, weights)
    file = weights / "tokenizer_config.json"
    settings = {**json.loads(file.read_text()), **changes}
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    policy = out / "hub" / "changed"
    policy.mkdir(parents=True)
    replace(ModelRef.read(base), weights=str(weights)).write(policy)
    return policy


def test_without_a_chat_template_another_format_is_named(base: Path, tmp_path: Path) -> None:
    stage = SFT.model_copy(update={"prompt": "chat"})
    with pytest.raises(ModelError, match="needs a tokenizer with a chat template; use `prompt: question_answer`"):
        tiny.result(stage, tmp_path, "a", policy=base, data=tiny.demonstrations(tmp_path / "d"))


def test_a_tokenizer_without_a_padding_token_trains_the_same(base: Path, tmp_path: Path) -> None:
    data = tiny.demonstrations(tmp_path / "d")
    other = with_tokenizer(base, tmp_path, pad_token=None)
    one, two = (
        tiny.result(SFT, tmp_path, name, policy=policy, data=data) for name, policy in (("a", base), ("b", other))
    )
    assert tiny.adapter_bytes(one) == tiny.adapter_bytes(two)


def test_a_tokenizer_with_nothing_to_pad_with_is_named(base: Path, tmp_path: Path) -> None:
    other = with_tokenizer(base, tmp_path, pad_token=None, eos_token=None, unk_token=None)
    with pytest.raises(ModelError, match="has no padding, end-of-text or unknown token to pad with"):
        tiny.result(SFT, tmp_path, "a", policy=other, data=tiny.demonstrations(tmp_path / "d"))


def test_what_is_longer_than_the_window_is_cut_and_counted(base: Path, tmp_path: Path) -> None:
    """The model takes 256 tokens, whatever `max_length` says."""
    rows = [{"messages": [tiny.ask(k), {"role": "assistant", "content": "red plum " * 300}]} for k in range(4)]
    rows += [{"messages": [{"role": "user", "content": "why " * 900}, {"role": "assistant", "content": "so"}]}]
    policy = tiny.result(SFT, tmp_path, "a", policy=base, data=tiny.table(tmp_path / "d", "demonstrations", rows))
    counts = tiny.summary(policy)
    assert (counts["max_length"], counts["truncated"], counts["examples"]) == (256, 4, 4)
    assert counts["dropped"] == {"the prompt alone has max_length tokens": 1}


def test_prompts_that_fill_the_window_are_not_told_to_raise_max_length(base: Path, tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "why " * 900}, {"role": "assistant", "content": "so"}]}]
    with pytest.raises(DataError, match="the model reads 256 tokens at most: shorten the prompts"):
        tiny.result(SFT, tmp_path, "a", policy=base, data=tiny.table(tmp_path / "d", "demonstrations", rows))
