"""A model of the Hugging Face hub, or in a folder on this machine."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, ValidationInfo

from datatrial.component import Component, beside_the_study
from datatrial.errors import ModelError
from datatrial.foreign.model_files import ADAPTER_WEIGHTS, mapping_in, missing_weights
from datatrial.models._base import Model
from datatrial.models._tokenizer import Tokenizer
from datatrial.records import HubFiles, LocalFiles, ModelRef, Needs, Runtime

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
ADAPTER = "adapter_config.json"
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model", "tekken.json")

# Of a hub repository, pickled weights and Mistral's `consolidated.safetensors` are left out: where they are, the same
# weights are most often there twice.
WANTED = ("*.json", "model*.safetensors", "adapter_model.safetensors", "*.model", "*.txt", "*.jinja")


def folder_or_id(path: str, info: ValidationInfo) -> str:
    """An absolute folder (a relative one is relative to the study file), or a hub id as it is.

    `org/name` is a hub id unless there is a folder of that name with a model in it.
    """
    local = beside_the_study(Path(path), info)
    has_model = (local / "config.json").exists() or (local / ADAPTER).exists()
    return path if HUB_ID.fullmatch(path) and not path.startswith((".", "~")) and not has_model else str(local)


class Hub(Model):
    """An existing model, or a LoRA adapter on the study's base model.

    What counts as its identity is the commit or the content of the files, not how they are named. Weights are read from
    safetensors, never from pickles, and code that comes with a model is never run.
    """

    refers: ClassVar[bool] = True

    path: Annotated[str, AfterValidator(folder_or_id)] = Field(min_length=1, exclude=True)
    revision: str = Field("main", exclude=True)  # branch, tag or commit; of hub ids only

    @property
    def is_local(self) -> bool:
        return Path(self.path).is_absolute()

    @property
    def may_be_adapter(self) -> bool:
        """Whether the input `base` may be needed; of a hub id nothing is known yet."""
        return self.is_adapter or not self.is_local

    @property
    def is_adapter(self) -> bool:
        """Whether this is a local LoRA adapter, which needs the input `base`."""
        return self.is_local and (Path(self.path) / ADAPTER).exists()

    def needs(self) -> Mapping[str, Needs]:
        if self.is_local:
            return {"weights": LocalFiles(Path(self.path))}
        return {"weights": HubFiles(self.path, "model", self.revision, WANTED, gated=self._terms)}

    @property
    def _terms(self) -> str:
        return f"accept the terms at https://huggingface.co/{self.path} and set HF_TOKEN"

    def tokenizer(self) -> Component:
        return self if self.is_local else Tokenizer(path=self.path, revision=self.revision, gated=self._terms)

    def problems(self) -> list[str]:
        """What is missing in a local folder; nothing is loaded, nothing asked of the hub."""
        if not self.is_local:
            return []
        folder = Path(self.path)
        if not folder.is_dir():
            return [f"no folder {folder}; give a model's folder, or a hub id such as org/name"]
        return adapter_problems(folder) if self.is_adapter else weights_problems(folder)

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        """Write where the model lies. Reads the input `base` (a result with `model.json`) when it is an adapter.

        Raises: ModelError when files are missing.
        """
        folder = inputs["weights"].absolute()
        if (folder / ADAPTER).exists():
            ref = self._on_base(folder, inputs)
        else:
            _raise_first(weights_problems(folder))
            ref = ModelRef(str(folder), dtype=self.dtype, quantization=self.quantization)
        ref.relative_to(out).write(out)

    def _on_base(self, folder: Path, inputs: Mapping[str, Path]) -> ModelRef:
        _raise_first(adapter_problems(folder))
        if "base" not in inputs:
            raise ModelError(
                f"{self.path} is a LoRA adapter, no whole model; use it in an arm: [{{model: {self.path}}}]"
            )
        base = ModelRef.read(inputs["base"])
        if base.adapter:
            raise ModelError(f"{self.path} is a LoRA adapter, and so is the study's model: only one can be used")
        if self.quantization not in (None, base.quantization):
            raise ModelError(
                f"{self.path} is a LoRA adapter: set `quantization` of the study's model, which it goes on"
            )
        return replace(base, adapter=str(folder))


def weights_problems(folder: Path) -> list[str]:
    """What a folder lacks of a model: its config, all its weights, its tokenizer."""
    found = []
    if not (folder / "config.json").exists():
        found.append(f"no config.json in {folder}: it should be the folder that save_pretrained wrote")
    found += missing_weights(folder)
    if not any((folder / name).exists() for name in TOKENIZERS):
        found.append(f"no tokenizer in {folder}: expected tokenizer.json (save the model's tokenizer there too)")
    return found


def adapter_problems(folder: Path) -> list[str]:
    """What a folder lacks of a LoRA adapter as PEFT saves them."""
    if found := missing_weights(folder, ADAPTER_WEIGHTS):
        return found
    kind = mapping_in(folder / ADAPTER).get("peft_type")
    return [] if kind == "LORA" else [f"the adapter in {folder} is of type {kind}; only LORA can be used"]


def _raise_first(problems: list[str]) -> None:
    if problems:
        raise ModelError(problems[0])
