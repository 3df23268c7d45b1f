"""vLLM writes the answers where it is installed. A stand-in takes its place, which writes with transformers."""

import json
import sys
from collections.abc import Iterator
from importlib import metadata
from importlib.machinery import ModuleSpec
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import polars as pl
import pytest
from lm_eval.models.huggingface import HFLM
from transformers import AutoModelForCausalLM

from datatrial.errors import ModelError
from datatrial.evaluation import _model
from datatrial.evaluation.lm_eval import LmEval
from datatrial.records import ModelRef, Runtime
from tests.evaluation.conftest import make_policy, score


class Engine(HFLM):  # type: ignore[misc]
    """The part of lm-eval's `vllm` model that is asked for here."""

    started: ClassVar[list[dict[str, Any]]] = []
    stopped: ClassVar[int] = 0
    problem: ClassVar[str] = ""

    def __init__(self, pretrained: str, **settings: Any):
        if self.problem:
            raise RuntimeError(self.problem)
        super().__init__(AutoModelForCausalLM.from_pretrained(pretrained), tokenizer=pretrained)
        self.model.llm_engine = SimpleNamespace(engine_core=SimpleNamespace(shutdown=self.stop))
        self.started.append({"pretrained": pretrained, **settings})

    def stop(self) -> None:
        Engine.stopped += 1


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Engine]]:
    """vLLM, as if it were installed for a CPU."""
    modules = {name: ModuleType(name) for name in ("vllm", "vllm.platforms", "lm_eval.models.vllm_causallms")}
    for name, module in modules.items():
        module.__spec__ = ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)
    vars(modules["vllm.platforms"])["current_platform"] = SimpleNamespace(device_type="cpu")
    vars(modules["lm_eval.models.vllm_causallms"])["VLLM"] = Engine
    monkeypatch.delitem(sys.modules, "datatrial.evaluation._vllm", raising=False)
    found = version
    monkeypatch.setattr(metadata, "version", lambda name: "0.32.0" if name == "vllm" else found(name))
    for name, value in (("started", []), ("stopped", 0), ("problem", "")):
        monkeypatch.setattr(Engine, name, value)
    yield Engine
    sys.modules.pop("datatrial.evaluation._vllm", None)


@pytest.mark.slow
def test_it_writes_where_it_is_installed_and_gives_its_memory_back(
    engine: type[Engine], world: Path, policy: Path, tmp_path: Path
) -> None:
    summary = score(LmEval(task=str(world / "says.yaml"), limit=2), tmp_path / "out", policy=policy)
    assert [each["dtype"] for each in engine.started] == ["float32"]
    assert engine.stopped == 1
    assert summary["scoring"] == {"method": "vllm 0.32.0"}
    assert "written by vLLM" in summary["notes"][0]
    assert pl.read_parquet(tmp_path / "out" / "items.parquet")["response"].null_count() == 0


@pytest.mark.slow
def test_where_it_does_not_start_transformers_writes_and_it_is_said(
    engine: type[Engine], world: Path, policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "problem", "no kernel image for this GPU")
    failed = score(LmEval(task=str(world / "says.yaml"), limit=2), tmp_path / "failed", policy=policy)
    assert "vLLM could not start (no kernel image for this GPU)" in failed["notes"][0]
    monkeypatch.setattr(_model, "find_spec", lambda _: None)
    without = score(LmEval(task=str(world / "says.yaml"), limit=2), tmp_path / "without", policy=policy)
    assert failed["metrics"] == without["metrics"]
    assert not without["notes"]


@pytest.mark.slow
def test_log_likelihoods_are_not_its_business(
    engine: type[Engine], policy: Path, questions: Path, tmp_path: Path
) -> None:
    summary = score(LmEval(data="questions", limit=2), tmp_path / "out", policy=policy, data=questions)
    assert not engine.started
    assert summary["scoring"]["method"] == "trie"


@pytest.mark.parametrize(
    ("adapter", "can"),
    [
        ({"peft_type": "LORA", "r": 12, "bias": "none", "use_dora": False}, True),
        ({"peft_type": "LORA", "r": 1024}, False),
        ({"peft_type": "LORA", "r": 8, "use_dora": True}, False),
        ({"peft_type": "LORA", "r": 8, "modules_to_save": ["lm_head"]}, False),
        ({"peft_type": "LORA", "r": 8, "bias": "all"}, False),
        ({"peft_type": "PROMPT_TUNING"}, False),
    ],
)
def test_it_is_not_given_what_it_would_get_wrong(
    engine: type[Engine], tmp_path: Path, adapter: dict[str, Any], can: bool
) -> None:
    from datatrial.evaluation import _vllm

    (tmp_path / "adapter_config.json").write_text(json.dumps(adapter))
    ref = ModelRef("weights", str(tmp_path))
    assert _vllm.can_answer(ref, "cpu") == can
    assert not _vllm.can_answer(ref, "cuda")
    assert not _vllm.can_answer(ModelRef("weights", quantization="nf4"), "cpu")


@pytest.mark.slow
def test_it_makes_room_for_an_adapter(engine: type[Engine], world: Path, tmp_path: Path) -> None:
    policy = make_policy(tmp_path / "policy")
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 12}))
    (adapter / "adapter_model.safetensors").write_text("")
    ref = ModelRef.read(policy)
    ModelRef(ref.weights, str(adapter), ref.dtype).write(policy)
    score(LmEval(task=str(world / "says.yaml"), limit=1), tmp_path / "out", policy=policy)
    [started] = engine.started
    assert (started["lora_local_path"], started["max_lora_rank"]) == (str(adapter), 16)


@pytest.mark.slow
def test_it_is_given_no_pickle_to_read(engine: type[Engine], world: Path, policy: Path, tmp_path: Path) -> None:
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    (adapter / "adapter_model.bin").write_text("")
    with pytest.raises(ModelError, match="a pickle can run code"):
        writer(ModelRef(ModelRef.read(policy).weights, str(adapter)))
    assert not engine.started
    writer(ModelRef.read(policy))
    assert engine.started[0]["load_format"] == "safetensors"


def writer(ref: ModelRef) -> None:
    from datatrial.evaluation import _vllm

    _vllm.Writer(ref, Runtime())
