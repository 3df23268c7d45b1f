"""How far training moved a policy from the base model: what an arm paid for what it gained."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from datatrial.component import Component
from datatrial.records import PartOfStudy, Runtime

if TYPE_CHECKING:
    import torch


class Drift(Component):
    """Writes `drift.json`: the Kullback–Leibler divergence of a policy from the base model, in nats a token.

    Reads the inputs `policy` and `base` (results with `model.json`) and the texts of the study's benchmarks. So many of
    them, evenly spread over all, are the fixed prompts; of each the first tokens. The divergence is KL(policy ‖ base)
    of the next-token distributions, over the whole vocabulary in float32, mean over all positions.
    """

    texts: int = Field(64, gt=0)
    tokens: int = Field(64, gt=1)  # of each text

    def reads(self) -> Mapping[str, PartOfStudy]:
        return {"benchmark": PartOfStudy("benchmarks")}

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        import torch

        from datatrial.policies import load_policy

        base, _ = load_policy(inputs["base"], runtime.device)
        policy, tokenizer = load_policy(inputs["policy"], runtime.device)
        texts = self._prompts(inputs)
        total, counted = 0.0, 0
        for number, text in enumerate(texts):
            runtime.progress(number, len(texts), "texts")
            ids = tokenizer.encode(text, truncation=True, max_length=self.tokens, return_tensors="pt")
            with torch.inference_mode():
                apart = divergence(*(_log_probabilities(model, ids.to(runtime.device)) for model in (policy, base)))
            total, counted = total + float(apart.sum()), counted + apart.numel()
        found = {"kl_per_token": total / counted, "tokens": counted, "texts": len(texts)}
        (out / "drift.json").write_text(json.dumps(found, indent=2))

    def _prompts(self, inputs: Mapping[str, Path]) -> Sequence[str]:
        from datatrial.text.overlap import benchmark_items

        texts = benchmark_items(inputs)["text"]
        places = {round(n * (texts.len() - 1) / max(1, self.texts - 1)) for n in range(min(self.texts, texts.len()))}
        return [str(texts[place]) for place in sorted(places)]


def divergence(ours: "torch.Tensor", theirs: "torch.Tensor") -> "torch.Tensor":
    """KL(ours ‖ theirs) at each position, in nats, from log-probabilities (positions × vocabulary)."""
    apart: torch.Tensor = (ours.exp() * (ours - theirs)).sum(dim=-1)
    return apart


def _log_probabilities(model: Any, ids: "torch.Tensor") -> "torch.Tensor":
    logits: torch.Tensor = model(input_ids=ids).logits[0].float()
    return logits.log_softmax(dim=-1).cpu()
