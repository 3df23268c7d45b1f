"""What the stages share: TRL's settings on a device, the run itself with its curves, and the result on disk."""

import json
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
import trl.trainer.utils
from datasets import disable_progress_bars
from huggingface_hub import constants
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from datatrial.errors import ModelError
from datatrial.records import ModelRef, Progress, Runtime, read_json
from datatrial.training._base import EVALUATIONS, micro_batch

if TYPE_CHECKING:
    from peft import PeftModel

    from datatrial.training._base import Stage
    from datatrial.training._examples import Examples

Config = TypeVar("Config", bound=TrainingArguments)

# What every stage tells TRL, whose own defaults report to each service that is installed and save checkpoints. What
# TensorBoard reads stays on this machine. Numbers of steps below 1 are shares of them all.
ALWAYS = {
    "lr_scheduler_type": "cosine",
    "warmup_steps": 0.05,
    "report_to": "tensorboard",
    "save_strategy": "no",
    "disable_tqdm": True,
    "logging_steps": 0.02,
    "logging_first_step": True,
    "logging_nan_inf_filter": False,  # it would show the last number instead
    "eval_steps": 1 / (EVALUATIONS - 1),
}
CLOCKED = ("_runtime", "_per_second")  # metrics that measure the machine, not the training
RUNS = "runs"  # where TensorBoard's files go in a result; the store takes no checksums there

disable_progress_bars()
constants.HF_HUB_DISABLE_TELEMETRY = True  # TRL reports each trainer to the hub; a run needs no network
# All that this decides, in that module, is whether the head scores answers alone. On a CPU TRL scores prompts and
# padding as well and masks them afterwards, which doubles the time of a step.
trl.trainer.utils._use_triton = lambda _: True


def configure(
    config: type[Config],
    stage: "Stage",
    ref: ModelRef,
    data: "Examples",
    out: Path,
    runtime: Runtime,
    **own: Any,
) -> Config:
    """TRL's config for a stage; what a study sets under `trl:` comes last.

    Raises: ModelError when TRL refuses a value.
    """
    part = micro_batch(stage.batch_size, runtime.device)
    settings = {
        **ALWAYS,
        **_on_device(ref, runtime.device),
        "output_dir": str(out / "trl"),
        "learning_rate": stage.learning_rate,
        "num_train_epochs": stage.epochs if data.order is None else 1,
        "train_sampling_strategy": "random" if data.order is None else "sequential",
        "per_device_train_batch_size": part,
        "per_device_eval_batch_size": part,
        "gradient_accumulation_steps": stage.batch_size // part,
        "max_length": data.max_length,
        "seed": stage.initialization,
        "data_seed": stage.seed,
        "eval_strategy": "steps" if data.held_out else "no",
        "eval_on_start": bool(data.held_out),
        **own,
        **stage.trl,
    }
    try:
        args: Config = config(**settings)
    except (TypeError, ValueError) as error:
        raise ModelError(f"TRL refuses the settings of {stage.kind}: {str(error).strip()}") from error
    return args


def _on_device(ref: ModelRef, device: str) -> dict[str, bool]:
    """How a model of that dtype is trained on a device; TRL's defaults: in bfloat16, with gradient checkpointing."""
    return {
        "use_cpu": device == "cpu",
        "bf16": ref.dtype == "bfloat16",
        "fp16": ref.dtype == "float16" and device == "cuda",
        "gradient_checkpointing": device != "cpu",
        "dataloader_pin_memory": device == "cuda",
    }


@dataclass(frozen=True)
class Measured:
    """One value of a training curve."""

    step: int
    epoch: float
    metric: str
    value: float


class Recorder(TrainerCallback):  # type: ignore[misc]
    """Keeps every metric that TRL logs, tells the progress, and ends a run whose loss is no number."""

    def __init__(self, stage: "Stage", progress: Progress):
        self.stage = stage
        self.progress = progress
        self.curves: list[Measured] = []

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.progress(state.global_step, state.max_steps, "training steps")
        if state.global_step >= state.max_steps:
            control.should_log = True  # or the last steps would be on no curve
        return control

    def on_log(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        for metric, value in logs.items():
            if metric != "epoch" and not metric.endswith(CLOCKED):
                self.curves.append(Measured(state.global_step, state.epoch or 0.0, metric, float(value)))
        if not math.isfinite(logs.get("loss", 0.0)):
            raise ModelError(
                f"the loss is no number at step {state.global_step} of {state.max_steps}: "
                f"lower learning_rate (now {self.stage.learning_rate:g})"
            )


def run(trainer: Trainer, stage: "Stage", runtime: Runtime) -> list[Measured]:
    """Train; the curves come back.

    Raises: ModelError when training diverges.
    """
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            # TRL makes a new LoRA bfloat16 on a quantized base; elsewhere PEFT trains it in float32.
            parameter.data = parameter.data.float()
    recorder = Recorder(stage, runtime.progress)
    trainer.remove_callback(PrinterCallback)
    trainer.add_callback(recorder)
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(Path(trainer.args.output_dir).with_name(RUNS))
    trainer.train()
    return recorder.curves


def write_result(
    model: "PeftModel", ref: ModelRef, data: "Examples", curves: Sequence[Measured], args: TrainingArguments, out: Path
) -> None:
    """Write the adapter, where its base lies, the curves, and what was trained on; remove what TRL left behind."""
    write_adapter(model, out / "adapter")
    replace(ref, adapter=str(out / "adapter")).relative_to(out).write(out)
    if data.order is not None:  # to TRL, what is trained on is one epoch
        curves = [replace(measured, epoch=measured.epoch * data.order.passes) for measured in curves]
    columns = {"step": pl.Int64, "epoch": pl.Float64, "metric": pl.String, "value": pl.Float64}
    rows = [(m.step, m.epoch, m.metric, m.value) for m in curves]
    pl.DataFrame(rows, columns, orient="row").write_parquet(out / "history.parquet")
    (out / "training.json").write_text(json.dumps(_summary(model, data, curves, args), indent=2))
    shutil.rmtree(args.output_dir, ignore_errors=True)


def write_adapter(model: "PeftModel", folder: Path) -> None:
    """Save the adapter "default" so that equal adapters are equal files, wherever their base lies."""
    config = model.peft_config["default"]
    if not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)  # a set has no order
    model.save_pretrained(str(folder), selected_adapters=["default"], save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # an empty model card
    written = folder / "adapter_config.json"
    placeless = {**read_json(written), "base_model_name_or_path": None}  # PEFT writes a path on this machine
    written.write_text(json.dumps(placeless, indent=2, sort_keys=True))


def _summary(
    model: "PeftModel", data: "Examples", curves: Sequence[Measured], args: TrainingArguments
) -> dict[str, Any]:
    of = {name: [m.value for m in curves if m.metric == name] for name in ("loss", "eval_loss", "num_tokens")}
    ends = {"loss": of["loss"], "held_out_loss": of["eval_loss"]}
    steps = max((m.step for m in curves), default=0)
    seen = _examples_seen(data, steps, args)
    return {
        "examples": data.distinct,
        "held_out": len(data.held_out),
        "max_length": data.max_length,
        "truncated": data.truncated,
        "prompts_cut": data.prompts_cut,
        "dropped": dict(data.dropped),
        "steps": steps,
        "passes": data.order.passes if data.order else seen / data.distinct,
        "examples_seen": seen,
        "tokens_seen": int(max(of["num_tokens"], default=0)),
        "packed_rows": data.order.rows if data.order else None,
        **{f"{name}_first": values[0] if values else None for name, values in ends.items()},
        **{f"{name}_last": values[-1] if values else None for name, values in ends.items()},
        "parameters_trained": sum(p.numel() for name, p in model.named_parameters() if ".default." in name),
        "micro_batch": args.per_device_train_batch_size,
        "accumulated": args.gradient_accumulation_steps,
    }


def _examples_seen(data: "Examples", steps: int, args: TrainingArguments) -> int:
    """Examples trained on, counted as often as they were seen; a packed one that was cut off at the end counts."""
    if data.order is not None:
        return len(data.order.examples)
    batch: int = args.per_device_train_batch_size * args.gradient_accumulation_steps
    epochs, rest = divmod(steps, math.ceil(data.distinct / batch))
    return epochs * data.distinct + rest * batch
