"""The settings of TRL's configs that a study may set under `trl:`, read from TRL's source without importing it."""

import ast
import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from datatrial.component import did_you_mean

_PRECISION = "set the model's `dtype` (and `--device`)"
_FORMAT = "set `prompt`; the text is made and tokenized before TRL sees it"
_RESULT = "results go into the study's store"
_ORDER = "every pass is in another order, drawn from `seeds`, and the last batch is kept"
_LAUNCH = "set `launch` of the study"
_EVALUATION = "set `held_out`; its loss is measured at the start, every quarter and at the end"

# Settings of TRL that a study has its own word for, or that would break what the engine relies on.
OWNED = {
    "learning_rate": "set `learning_rate`",
    "num_train_epochs": "set `epochs`",
    "max_steps": "set `budget: {steps: …}`",
    "per_device_train_batch_size": "set `batch_size`",
    "per_device_eval_batch_size": "set `batch_size`",
    "gradient_accumulation_steps": "set `batch_size`",
    "auto_find_batch_size": "set `batch_size`",
    "max_length": "set `max_length`",
    "beta": "set `beta`",
    "num_generations": "set `num_generations`",
    "num_generations_eval": "one answer is written to each held-out prompt",
    "generation_batch_size": "set `batch_size`",
    "steps_per_generation": "set `batch_size`",
    "max_completion_length": "set `max_completion_length`",
    "temperature": "set `temperature`",
    "precompute_ref_log_probs": "the reference is asked once, beforehand",
    "sync_ref_model": "the reference is the policy that training starts from",
    "seed": "set `seeds` of the study",
    "data_seed": "set `seeds` of the study",
    "use_cpu": "use `--device`",
    "bf16": _PRECISION,
    "fp16": _PRECISION,
    "output_dir": _RESULT,
    "save_strategy": _RESULT,
    "save_steps": _RESULT,
    "load_best_model_at_end": _RESULT,
    "resume_from_checkpoint": _RESULT,
    "push_to_hub": _RESULT,
    "hub_token": "a study is shown with its results; nothing is pushed to the hub, and HF_TOKEN is for what is read",
    "fsdp": _LAUNCH,
    "fsdp_config": _LAUNCH,
    "deepspeed": _LAUNCH,
    "disable_tqdm": "progress is shown by `datatrial run`",
    "remove_unused_columns": _FORMAT,
    "save_only_model": _RESULT,
    "ignore_data_skip": _RESULT,
    "average_tokens_across_devices": "a batch's gradients are its own in however many processes",
    "do_train": _EVALUATION,
    "do_eval": _EVALUATION,
    "do_predict": _EVALUATION,
    "eval_strategy": _EVALUATION,
    "eval_on_start": _EVALUATION,
    "model_init_kwargs": "set the fields of `model`",
    "trust_remote_code": "code that comes with a model is never run",
    "chat_template_path": _FORMAT,
    "dataset_text_field": _FORMAT,
    "dataset_kwargs": _FORMAT,
    "dataset_num_proc": _FORMAT,
    "assistant_only_loss": "set `loss`",
    "completion_only_loss": "set `loss`",
    "packing": "set `packing`",
    "packing_strategy": "set `packing`",
    "eval_packing": "held-out examples are measured each alone",
    "padding_free": "set `packing`",
    "shuffle_dataset": _ORDER,
    "train_sampling_strategy": _ORDER,
    "dataloader_drop_last": _ORDER,
    "eos_token": _FORMAT,
    "pad_token": _FORMAT,
    "truncation_mode": "set `max_length`; what is longer loses its end",
}

# Losses of DPO that are no mean over pairs: a batch in parts would have another one.
NO_MEANS = ("aot", "aot_unpaired", "bco_pair", "sft")

# What curves can be sent to while they are made, beside `history.parquet`, and the package that each needs.
TRACKERS = {name: name for name in ("clearml", "mlflow", "swanlab", "tensorboard", "trackio", "wandb")}
TRACKERS |= {"comet_ml": "comet_ml", "dvclive": "dvclive"}
# Settings that say where curves go and under what name: the adapter is the same without them.
TRACKING = frozenset({"report_to", "run_name", "project", "trackio_space_id"})


def problem_with(name: str, value: Any, kind: str) -> str | None:
    """Why a study cannot set this under `trl:` of a kind of stage ("sft", "dpo"), or nothing."""
    if name not in (known := known_settings(kind)):
        return f"TRL has no setting {name!r} for {kind}; {did_you_mean(name, known)}"
    losses = value if isinstance(value, list | tuple) else [value]
    if (kind, name) == ("dpo", "loss_type") and (found := [loss for loss in losses if loss in NO_MEANS]):
        return f"loss_type: {found[0]} cannot be used here: it is no mean over pairs, so parts of a batch do not add up"
    if name == "report_to":
        return next(_problems_with_trackers(value), None)
    return f"TRL's {name!r} cannot be set here: {OWNED[name]}" if name in OWNED else None


def _problems_with_trackers(asked: Any) -> Iterator[str]:
    """What keeps curves from being sent where `report_to` says: "none", the name of a tracker, or a list of names."""
    if asked == "none":
        return
    several = isinstance(asked, list | tuple)
    for tracker in asked if several else [asked]:
        if not isinstance(tracker, str) or tracker not in TRACKERS:
            known = [*["none"] * (not several), *TRACKERS]
            yield f"report_to: TRL cannot report to {tracker!r}; {did_you_mean(str(tracker), known)}"
        elif importlib.util.find_spec(TRACKERS[tracker]) is None:
            package = TRACKERS[tracker].replace("_", "-")
            yield f"report_to: {tracker} is not installed; `pip install {package}`, or leave `report_to` out"


@cache
def known_settings(kind: str) -> list[str]:
    """The fields of TRL's config for a kind of stage, with those it inherits."""
    return sorted({name for path in _sources(kind) for name in _fields(path)})


def _sources(kind: str) -> Iterator[Path]:
    # find_spec of a top-level package does not import it; of a module inside it would.
    places = (_folder("trl") / "trainer", _folder("trl") / "experimental" / kind)
    yield next(file for place in places if (file := place / f"{kind}_config.py").is_file())
    yield _folder("trl") / "trainer" / "base_config.py"
    yield _folder("transformers") / "training_args.py"


def _folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec and spec.origin, f"{package} is not installed"
    return Path(spec.origin).parent


def _fields(path: Path) -> Iterator[str]:
    """Annotated names in the bodies of a module's dataclasses."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and any("dataclass" in ast.unparse(d) for d in node.decorator_list):
            for line in node.body:
                if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
                    yield line.target.id
