import gc
import os
from pathlib import Path
from uuid import uuid4

import pytest

from tests import tiny

# Before anything imports torch: tests run in parallel, and results must not depend on how many threads are free.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Clusters of tests have a token of their own: else Ray leaves one in the home directory, for all that come later.
os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", uuid4().hex
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # nothing is compiled here, and each process that imports peft would load it
os.environ.pop("DATATRIAL_HUB_ROOT", None)  # what a developer's own mirror holds changes no test


def pytest_collection_finish() -> None:
    """Leave what libraries keep for good out of collections of garbage: every training has one, of all objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="session")
def wide_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One whose layers can be kept in 4 bits on a CPU."""
    return tiny.base(tmp_path_factory.mktemp("store"), hidden_size=64, intermediate_size=128)


@pytest.fixture(scope="session")
def pairs_and_judge(base: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return tiny.comparisons_and_reward_model(tmp_path_factory.mktemp("store"), base)


@pytest.fixture(scope="session")
def reward_pairs(pairs_and_judge: tuple[Path, Path]) -> Path:
    """What the reward model was trained on, or had held out."""
    return pairs_and_judge[0]


@pytest.fixture(scope="session")
def reward_model(pairs_and_judge: tuple[Path, Path]) -> Path:
    return pairs_and_judge[1]
