import os
import subprocess
import sys
from pathlib import Path

import pytest

TINY = """\
name: tiny
about: A toy of a toy, for the tests.
model: {kind: from_scratch, corpus: [corpus], hidden_size: 32, intermediate_size: 64, layers: 1, heads: 2}
max_length: 128
lora: {r: 4}
seeds: [0, 1]
training:
  sft: {learning_rate: 1e-3}
  dpo: {learning_rate: 1e-3, beta: 0.2}
data:
  corpus: {source: {kind: micro_world, part: corpus, n: 300}}
  careful: {source: {kind: micro_world, part: careful_demonstrations, n: 40}}
  pairs: {source: {kind: micro_world, part: careful_comparisons, n: 40}}
  science: {source: {kind: micro_world, part: science, n: 20}}
  opinions: {source: {kind: micro_world, part: opinions}}
arms:
  base: []
  careful: [{sft: careful}]
  careful+pairs: [{sft: careful}, {dpo: pairs}]
benchmarks:
  - {kind: lm_eval, data: science}
  - {kind: group_safety, data: opinions}
contrasts:
  - {claim: Careful pairs make it safer, arm: careful+pairs, against: careful, on: [group_safety], expect: better}
"""


@pytest.fixture
def tiny(tmp_path) -> Path:
    """A study that runs in seconds."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path


PLANTED = {  # secrets of the environment, which nothing that is written or shown may hold
    "HF_TOKEN": "planted-of-the-hub",
    "WANDB_API_KEY": "planted-of-a-tracker",
    "AWS_SECRET_ACCESS_KEY": "planted-of-a-bucket",
}


def leaks(folder: Path) -> list[str]:
    """The files below a folder that hold a planted secret, by whatever name."""
    secrets = [value.encode() for value in PLANTED.values()]
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in files if any(secret in path.read_bytes() for secret in secrets)]


@pytest.fixture
def datatrial(tmp_path):
    """Runs the command line in a process of its own, in a folder of its own, and looks for secrets in all it leaves."""

    def call(*args: object, expect: int = 0, **env: str) -> "subprocess.CompletedProcess[str]":
        done = subprocess.run(
            [sys.executable, "-m", "datatrial.cli", *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, **PLANTED, "COLUMNS": "200", **env},
            capture_output=True,
            text=True,
            timeout=280,
        )
        assert done.returncode == expect, f"exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stdout + done.stderr
        assert not any(secret in done.stdout + done.stderr for secret in PLANTED.values())
        return done

    yield call
    assert leaks(tmp_path) == []
