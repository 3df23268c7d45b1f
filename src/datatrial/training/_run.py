"""What the stages share: TRL's settings on a device, the run itself with its curves, and the result on disk."""

import json
import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
import trl.trainer.utils
from datasets import Dataset, disable_progress_bars
from huggingface_hub import constants
from peft import PeftModel
from transformers import PrinterCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations import TensorBoardCallback

from datatrial import machine
from datatrial.errors import DivergedError, ModelError
from datatrial.foreign.model_files import readable_by_umask
from datatrial.likelihood.budget import gpu_memory
from datatrial.policies import copy_tokenizer
from datatrial.records import ModelRef, Progress, Runtime, read_json
from datatrial.shapes import shape_of
from datatrial.training._at_once import AtOnce, at_once
from datatrial.training._base import EVALUATIONS, MEASURED_AT_ONCE, TRAINING_STEPS
from datatrial.training._checkpoints import Checkpoints
from datatrial.training._dropout import drop_by_token
from datatrial.training._parts import InParts
from datatrial.training._sharded import Weights, refuse_lone_head, sharding, whole_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from datatrial.encoding import Example
    from datatrial.training._base import Stage
    from datatrial.training._examples import Examples

Config = TypeVar("Config", bound=TrainingArguments)

# What every stage tells TRL, whose own defaults report to each service that is installed and save checkpoints by
# steps. What TensorBoard reads stays on this machine. Numbers of steps below 1 are shares of them all.
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
EXPLODED = 100.0  # times the first loss, or 1 if that is more: no training comes back from there
CLOCKED = ("_runtime", "_per_second", "step_time")  # metrics that measure the machine, not the training
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
    fitting = fitting_at_once(stage, ref, runtime)
    settings = {
        **ALWAYS,
        **_on_device(ref, runtime.device),
        "gradient_checkpointing": fitting.checkpointing,
        "output_dir": str((runtime.scratch or out) / "trl"),  # where checkpoints go
        "learning_rate": stage.learning_rate,
        "num_train_epochs": 1,  # of what is laid out in the order of training
        "per_device_train_batch_size": stage.batch_size,
        "per_device_eval_batch_size": MEASURED_AT_ONCE,
        "max_length": data.max_length,
        "seed": stage.initialization,
        "data_seed": stage.seed,
        "eval_strategy": "steps" if data.held_out else "no",
        "eval_on_start": bool(data.held_out),
        **sharding(runtime.launch, ref),
        **own,
        **stage.trl,
    }
    if "max_length" not in config.__dataclass_fields__:  # where TRL has none, we have cut what is too long
        del settings["max_length"]
    try:
        args: Config = config(**settings)
    except (TypeError, ValueError) as error:
        raise ModelError(f"TRL refuses the settings of {stage.kind}: {str(error).strip()}") from error
    args._n_gpu = min(args.n_gpu, 1)  # a trainer that sees several would spread each batch over them
    return args


def data_sets(data: "Examples", rows: Callable[[Sequence["Example"]], Dataset]) -> dict[str, Dataset | None]:
    """What a trainer takes: the examples as rows of TRL's columns, those to train on in the order of training."""
    held_out = rows(data.held_out) if data.held_out else None
    return {"train_dataset": rows(data.train).select(data.order.places), "eval_dataset": held_out}


def fitting_at_once(stage: "Stage", ref: ModelRef, runtime: Runtime) -> AtOnce:
    """How much of a batch goes through the model at a time on a device of this machine."""
    shape, on_gpu = shape_of(read_json(Path(ref.weights) / "config.json")), runtime.device != "cpu"
    processes = runtime.launch.on_each_machine if runtime.launch else 1
    memory = gpu_memory(runtime.device) if on_gpu else machine.memory() / processes
    return at_once(stage, shape, ref.dtype, ref.quantization is not None, memory, on_gpu, runtime.launch)


def _on_device(ref: ModelRef, device: str) -> dict[str, bool | str | None]:
    """How a model of that dtype is trained on a device; TRL's default is bfloat16."""
    return {
        "use_cpu": device == "cpu",
        "bf16": ref.dtype == "bfloat16",
        "fp16": ref.dtype == "float16" and device == "cuda",
        "dataloader_pin_memory": device == "cuda",
        "ddp_find_unused_parameters": False,
        "ddp_backend": "gloo" if device == "cpu" and "WORLD_SIZE" in os.environ else None,  # of several processes
    }


class Watch(TrainerCallback):  # type: ignore[misc]
    """Tells the progress, and ends a run whose loss is no number or has exploded."""

    def __init__(self, stage: "Stage", progress: Progress):
        self.stage = stage
        self.progress = progress

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.progress(state.global_step, state.max_steps, TRAINING_STEPS)
        if state.global_step >= state.max_steps:
            control.should_log = True  # or the last steps would be on no curve
        return control

    def on_log(
        self, _args: TrainingArguments, state: TrainerState, _control: TrainerControl, logs: dict[str, Any], **_: Any
    ) -> None:
        loss = logs.get("loss", 0.0)
        first = next((logged["loss"] for logged in state.log_history if "loss" in logged), loss)
        if math.isfinite(loss) and loss <= EXPLODED * max(first, 1.0):
            return
        what = f"is {loss:.4g}, after {first:.4g} at first," if math.isfinite(loss) else "is no number"
        raise DivergedError(
            f"the loss {what} at step {state.global_step} of {state.max_steps}: "
            f"lower learning_rate (now {self.stage.learning_rate:g})"
        )


def run(trainer: InParts, stage: "Stage", ref: ModelRef, runtime: Runtime) -> None:
    """Train, from the latest checkpoint on if there is one; the curves are in the trainer's state.

    Raises: DivergedError when the loss is no number; ModelError when memory runs out with one example at a time.
    """
    refuse_lone_head(trainer)
    for parameter in trainer.model.parameters():
        if parameter.requires_grad:
            # TRL makes a new LoRA bfloat16 on a quantized base; elsewhere PEFT trains it in float32.
            parameter.data = parameter.data.float()
    trainer.tokens_at_once = fitting_at_once(stage, ref, runtime).tokens
    trainer.remove_callback(PrinterCallback)
    drop_by_token(trainer)
    checkpoints = Checkpoints(trainer, runtime.checkpoint_every)
    trainer.add_callback(checkpoints)
    trainer.add_callback(Watch(stage, runtime.progress))
    for callback in trainer.callback_handler.callbacks:
        if isinstance(callback, TensorBoardCallback):
            callback.logging_dir = str(Path(trainer.args.output_dir).with_name(RUNS))
    if checkpoints.found:
        trainer.args.eval_on_start = False  # that is on the curve already
    trainer.train(resume_from_checkpoint=str(checkpoints.found) if checkpoints.found else None)


def write_result(trainer: InParts, ref: ModelRef, data: "Examples", out: Path) -> None:
    """Write the adapter and where its base lies, or all weights; the curves, and what was trained on.

    Checkpoints stay until the store has the result. Of several processes the first one does all that.
    """
    whole = whole_weights(trainer)
    if not trainer.is_world_process_zero():
        return
    if isinstance(trainer.model, PeftModel):
        write_adapter(trainer.model, out / "adapter", whole)
        made = replace(ref, adapter=str(out / "adapter"))
    else:
        write_weights(trainer.model, Path(ref.weights), out / "weights", whole)
        made = replace(ref, weights=str(out / "weights"), adapter=None)
    made.relative_to(out).write(out)
    curves = curves_of(trainer.state, data.order.passes)
    curves.write_parquet(out / "history.parquet")
    (out / "training.json").write_text(json.dumps(_summary(trainer, data, curves), indent=2))
    left = Path(trainer.args.output_dir)
    if left.parent == out:  # no scratch, which the store removes
        shutil.rmtree(left, ignore_errors=True)
    elif (runs := left.with_name(RUNS)).exists():
        shutil.copytree(runs, out / RUNS)


def curves_of(state: TrainerState, passes: float) -> pl.DataFrame:
    """Every metric that was logged: step, epoch, metric, value; by step and metric, as checkpoints mix up the latter.

    To TRL, all that is trained on is one epoch.
    """
    columns = {"step": pl.Int64, "epoch": pl.Float64, "metric": pl.String, "value": pl.Float64}
    rows = [
        (logs["step"], logs["epoch"] * passes, metric, float(value))
        for logs in state.log_history
        if "train_runtime" not in logs  # a summary of the run
        for metric, value in logs.items()
        if metric not in ("step", "epoch") and not metric.endswith(CLOCKED) and value is not None
    ]
    return pl.DataFrame(rows, columns, orient="row").sort("step", "metric", maintain_order=True)


def write_adapter(model: PeftModel, folder: Path, whole: Weights | None = None) -> None:
    """Save the adapter "default" so that equal adapters are equal files, wherever their base lies.

    whole: its weights, where the model at hand has a share of them only.
    """
    config = model.peft_config["default"]
    if not isinstance(config.target_modules, str):
        config.target_modules = sorted(config.target_modules)  # a set has no order
    model.save_pretrained(str(folder), selected_adapters=["default"], save_embedding_layers=False, state_dict=whole)
    readable_by_umask(folder)
    (folder / "README.md").unlink(missing_ok=True)  # an empty model card
    written = folder / "adapter_config.json"
    placeless = {**read_json(written), "base_model_name_or_path": None}  # PEFT writes a path on this machine
    written.write_text(json.dumps(placeless, indent=2, sort_keys=True))


def write_weights(model: "PreTrainedModel", base: Path, folder: Path, whole: Weights | None = None) -> None:
    """Save all weights in float32, as they were trained, with the base model's config and tokenizer beside them."""
    model.save_pretrained(str(folder), state_dict=whole)
    readable_by_umask(folder)
    config = {**read_json(base / "config.json"), "dtype": "float32"}  # TRL writes into the model's own
    config.pop("torch_dtype", None)
    config.pop("_name_or_path", None)  # a path on some machine
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True))
    copy_tokenizer(base, folder)


def _summary(trainer: InParts, data: "Examples", curves: pl.DataFrame) -> dict[str, Any]:
    def of(metric: str) -> list[float]:
        return curves.filter(metric=metric)["value"].to_list()

    ends = {"loss": of("loss"), "held_out_loss": of("eval_loss")}
    return {
        "examples": len(data.train),
        "held_out": len(data.held_out),
        "max_length": data.max_length,
        "truncated": data.truncated,
        "prompts_cut": data.prompts_cut,
        "dropped": dict(data.dropped),
        "steps": trainer.state.global_step,
        "passes": data.order.passes,
        "examples_seen": len(data.order.places),  # one that was cut off at the end of the last packed row counts
        "tokens_seen": int(max(of("num_tokens"), default=0)),
        "packed_rows": data.order.rows,
        **{f"{name}_first": values[0] if values else None for name, values in ends.items()},
        **{f"{name}_last": values[-1] if values else None for name, values in ends.items()},
        "parameters_trained": sum(p.numel() for p in trainer.model.parameters() if p.requires_grad),
        "order_seed": trainer.args.data_seed,
        "initialization_seed": trainer.args.seed,
        "tokens_at_once": trainer.tokens_at_once,
        "memory_ran_out": trainer.halved,
        "checkpointing": trainer.args.gradient_checkpointing,
        "notes": trainer.notes,
    }
