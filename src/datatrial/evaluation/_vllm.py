"""Answers written by vLLM (Kwon et al. 2023). To be imported where it is installed only."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lm_eval.api.instance import Instance
from lm_eval.models.vllm_causallms import VLLM
from vllm.platforms import current_platform

from datatrial.foreign.model_files import ADAPTER_WEIGHTS, WEIGHTS, refuse_pickles
from datatrial.records import ModelRef, Runtime, read_json

_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)  # of adapters: those that vLLM (0.32) makes room for
_BEYOND = ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern", "trainable_token_indices", "lora_bias")


def can_answer(ref: ModelRef, device: str) -> bool:
    """Whether vLLM was built for this device, and does what the adapter asks for."""
    adapter = _adapter(ref)
    plain = adapter.get("peft_type", "LORA") == "LORA" and adapter.get("bias", "none") == "none"
    plain = plain and not any(adapter.get(setting) for setting in _BEYOND) and adapter.get("r", 1) <= _RANKS[-1]
    return plain and not ref.quantization and bool(current_platform.device_type == device)


class Writer(VLLM):  # type: ignore[misc]
    """lm-eval's `vllm` model of a policy, for tasks whose answers are written. It takes most of a GPU's memory."""

    failures: Mapping[tuple[str, int], str] = {}  # as a `DatatrialLM` has them
    continuations: Mapping[tuple[str, int], list[int]] = {}
    notes: Sequence[str] = ("answers were written by vLLM, which rounds otherwise than transformers",)

    def __init__(self, ref: ModelRef, runtime: Runtime):
        """Raises: whatever vLLM raises when it cannot start, or write a word."""
        rank = next(size for size in _RANKS if size >= _adapter(ref).get("r", 1))
        adapted = {"lora_local_path": ref.adapter, "max_lora_rank": rank} if ref.adapter else {}
        for folder, weights in ((ref.weights, WEIGHTS), (ref.adapter, ADAPTER_WEIGHTS)):
            if folder:
                refuse_pickles(Path(folder), weights)  # which vLLM would read
        super().__init__(ref.weights, dtype=ref.dtype, load_format="safetensors", **adapted)
        self._progress = runtime.progress
        # Some of what it cannot do shows with the first token only.
        super().generate_until([Instance("generate_until", {}, ("a", {"until": [], "max_gen_toks": 1}), 0)], True)

    def recorded(self) -> dict[str, Any]:
        """What answered."""
        return {"method": f"vllm {version('vllm')}"}

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        """As lm-eval's own; vLLM shows its progress itself."""
        self._progress(0, len(requests), "requests")
        return super().generate_until(requests, disable_tqdm)  # type: ignore[no-any-return]

    def close(self) -> None:
        """Give the memory back."""
        self.model.llm_engine.engine_core.shutdown()


def _adapter(ref: ModelRef) -> Mapping[str, Any]:
    found: Mapping[str, Any] = read_json(Path(ref.adapter) / "adapter_config.json") if ref.adapter else {}
    return found
