"""The model that answers a benchmark's requests."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datatrial import policies
from datatrial.errors import first_line
from datatrial.evaluation._batches import batch_size
from datatrial.likelihood.harness import DatatrialLM
from datatrial.records import ModelRef, Runtime

if TYPE_CHECKING:
    from datatrial.evaluation._vllm import Writer

logger = logging.getLogger(__name__)


@contextmanager
def model_of(policy: Path, runtime: Runtime, writes: bool) -> Iterator[tuple[Any, list[str]]]:
    """lm-eval's model of a policy, and what people should know of it.

    It is vLLM's where that is installed and all that is asked is to write, or else ours. Either has, beside what
    lm-eval asks for, `failures`, `continuations`, `recorded()` and `notes`.
    """
    ref = ModelRef.read(policy)
    writer, notes = _writer(ref, runtime) if writes and find_spec("vllm") else (None, [])
    if writer:
        try:
            yield writer, notes
        finally:
            writer.close()
        return
    model, tokenizer = policies.load_policy(policy, runtime.device)
    lm = DatatrialLM(
        model,
        tokenizer=tokenizer,
        backend="causal",
        batch_size=batch_size(runtime.device),
        progress=runtime.progress,
        journal=runtime.scratch,
        leaves_out=True,
    )
    yield lm, notes


def _writer(ref: ModelRef, runtime: Runtime) -> "tuple[Writer | None, list[str]]":
    """vLLM's model, where it does for this one."""
    try:
        from datatrial.evaluation import _vllm

        if not _vllm.can_answer(ref, runtime.device):
            return None, []
        policies.forget()  # the memory is vLLM's now
        writer = _vllm.Writer(ref, runtime)
    except Exception as error:  # an engine fails in as many ways as there are GPUs and drivers
        note = f"vLLM could not start ({first_line(error)}): answers were written with transformers"
        logger.warning(note)
        return None, [note]
    return writer, []
