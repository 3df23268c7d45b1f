"""Pickled weights and code that comes with a model are refused with the reason, wherever a model is loaded."""

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from datatrial import policies
from datatrial.errors import ModelError
from datatrial.foreign.model_files import missing_weights
from datatrial.models.hub import Hub
from datatrial.records import ModelRef, Runtime

REASON = "a pickle can run code when it is loaded"


class Planted:
    """Unpickled, it writes a file."""

    def __init__(self, witness: Path):
        self.witness = witness

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.witness}'",)


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    """What only the code of a model would write."""
    return tmp_path / "ran"


@pytest.fixture
def copied(base: Path, tmp_path: Path) -> Path:
    """A base of one's own, to spoil; it holds its folder of weights."""
    out = tmp_path / "from_scratch" / "copied"
    shutil.copytree(base, out)
    return out


def pickled(folder: Path, witness: Path, weights: str = "model.safetensors", name: str = "pytorch_model.bin") -> Path:
    """The folder with a pickle in the place of its weights."""
    (folder / weights).unlink(missing_ok=True)
    (folder / name).write_bytes(pickle.dumps(Planted(witness)))
    return folder


def changed(file: Path, **settings: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))


def embed(folder: Path) -> None:
    from datatrial.curation import _embedding

    _embedding.by_model(pl.Series(["a"]), folder, Runtime())


def classify(folder: Path) -> None:
    from datatrial.audits import _classifier

    _classifier._scores(["a"], folder, "", Runtime())


def score_in_lm_eval(folder: Path) -> None:
    from datatrial.likelihood.harness import DatatrialLM

    DatatrialLM(str(folder), device="cpu")


def as_policy(folder: Path) -> None:
    policies.load_policy(folder.parent, "cpu")


LOADERS = [as_policy, embed, classify, score_in_lm_eval]


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADERS)
def test_a_model_whose_weights_are_pickled_is_refused_wherever_it_is_loaded(
    copied: Path, witness: Path, load: Callable[[Path], None]
) -> None:
    folder = pickled(copied / "weights", witness)
    with pytest.raises((ModelError, OSError), match=REASON if load is not score_in_lm_eval else r"model\.safetensors"):
        load(folder)
    assert not witness.exists()


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADERS[:3])
def test_sound_pickled_weights_are_refused_too(copied: Path, load: Callable[[Path], None]) -> None:
    import torch
    from safetensors.torch import load_file

    weights = load_file(copied / "weights" / "model.safetensors")
    torch.save(weights, copied / "weights" / "pytorch_model.bin")
    (copied / "weights" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=REASON):
        load(copied / "weights")


@pytest.mark.slow
def test_a_pickled_adapter_is_refused_where_a_policy_is_loaded_and_in_lm_eval(
    base: Path, copied: Path, witness: Path
) -> None:
    from datatrial.likelihood.harness import DatatrialLM

    adapter = copied / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 2, "target_modules": ["q_proj"], "task_type": "CAUSAL_LM"})
    )
    pickled(adapter, witness, "adapter_model.safetensors", "adapter_model.bin")
    weights = ModelRef.read(base).weights
    ModelRef(weights, str(adapter)).write(copied)
    with pytest.raises(ModelError, match=rf"adapter_model\.bin: {REASON}"):
        policies.load_policy(copied, "cpu")
    with pytest.raises(ModelError, match=REASON):
        DatatrialLM(weights, peft=str(adapter), device="cpu")
    assert not witness.exists()


def test_pickled_weights_are_a_problem_before_anything_runs_which_says_how_to_convert_them(tmp_path: Path) -> None:
    for name in ("config.json", "tokenizer.json", "pytorch_model.bin", "training_args.bin"):
        (tmp_path / name).write_text("{}")
    [problem] = Hub(path=str(tmp_path)).problems()
    assert f"only pytorch_model.bin: {REASON}" in problem
    assert "save_pretrained" in problem
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    (tmp_path / "adapter_model.bin").write_text("")
    assert "with PEFT" in Hub(path=str(tmp_path)).problems()[0]


def test_pickles_beside_safetensors_are_no_problem(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_text("")
    (tmp_path / "model.safetensors").write_text("")
    assert missing_weights(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADERS[:3])
@pytest.mark.parametrize("config", ["config.json", "tokenizer_config.json"])
def test_what_cannot_be_loaded_without_code_of_its_own_is_refused_without_a_question(
    copied: Path, witness: Path, load: Callable[[Path], None], config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda asked: witness.touch() or "y")
    folder = copied / "weights"
    (folder / "evil.py").write_text(f"open({str(witness)!r}, 'w')\nclass Evil: ...\n")
    classes = ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSequenceClassification", "AutoTokenizer")
    own = {"model_type": "evil"} if config == "config.json" else {"tokenizer_class": "Evil"}
    changed(folder / config, **own, auto_map=dict.fromkeys(classes, "evil.Evil"))
    with pytest.raises(ModelError, match=r"code of its own must be run \(auto_map\), which datatrial never does"):
        load(folder)
    assert not witness.exists()


@pytest.mark.slow
def test_code_beside_a_model_that_transformers_knows_is_left_alone(copied: Path, witness: Path) -> None:
    folder = copied / "weights"
    code = f"open({str(witness)!r}, 'w')\ndef generate(model, **_): ...\nclass Evil: ...\n"
    (folder / "custom_generate").mkdir()
    for file in ("evil.py", "custom_generate/generate.py"):
        (folder / file).write_text(code)
    changed(folder / "config.json", auto_map={"AutoConfig": "evil.Evil", "AutoModelForCausalLM": "evil.Evil"})
    model, tokenizer = policies.load_policy(copied, "cpu")
    model.generate(**tokenizer("A", return_tensors="pt"), max_new_tokens=1)
    assert not witness.exists()


@pytest.mark.slow
@pytest.mark.parametrize("load", LOADERS[:3])
@pytest.mark.parametrize("within", [False, True])
def test_attention_from_the_hub_is_code_and_is_refused(
    copied: Path, load: Callable[[Path], None], within: bool
) -> None:
    asked = {"attn_implementation": "someone/kernel"}
    changed(copied / "weights" / "config.json", **({"text_config": asked} if within else asked))
    with pytest.raises(ModelError, match="asks for code of the hub"):
        load(copied / "weights")


@pytest.mark.slow
def test_a_chat_template_runs_in_a_sandbox(copied: Path, witness: Path) -> None:
    folder = copied / "weights"
    escape = "{{ messages.__class__.__mro__[-1].__subclasses__() }}{% set x = cycler.__init__.__globals__.os %}"
    changed(folder / "tokenizer_config.json", chat_template=escape + f"{{{{ x.system('touch {witness}') }}}}")
    tokenizer = policies.load_tokenizer(folder)
    with pytest.raises(Exception, match="unsafe"):
        tokenizer.apply_chat_template([{"role": "user", "content": "a"}], tokenize=False)
    assert not witness.exists()


@pytest.mark.slow
def test_weights_have_the_permissions_that_the_umask_gives(base: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    from datatrial.training._run import write_adapter, write_weights

    (tmp_path / "plain").touch()
    assert {file.stat().st_mode for file in (base / "weights").iterdir()} == {(tmp_path / "plain").stat().st_mode}
    model, _ = policies.load_policy(base, "cpu")
    before = os.umask(0o027)
    try:
        write_weights(model, Path(ModelRef.read(base).weights), tmp_path / "whole")
        write_adapter(get_peft_model(model, LoraConfig(target_modules=["q_proj"])), tmp_path / "adapter")
    finally:
        os.umask(before)
    folders = (tmp_path / "whole", tmp_path / "adapter")
    files = [file for folder in folders for file in folder.iterdir()]
    assert {"model.safetensors", "adapter_model.safetensors"} <= {file.name for file in files}
    assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o640"}


def test_the_kept_index_of_tasks_has_the_permissions_that_the_umask_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datatrial.evaluation import _stock

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(_stock, "_yaml_files", lambda _: iter(()))
    before = os.umask(0o022)
    try:
        _stock._read_index.__wrapped__()
    finally:
        os.umask(before)
    [kept] = (tmp_path / "datatrial").iterdir()
    assert oct(kept.stat().st_mode & 0o777) == "0o644"


@pytest.mark.slow
def test_lm_eval_cannot_have_us_run_the_code_of_a_model(base: Path) -> None:
    from datatrial.likelihood.harness import DatatrialLM

    with pytest.raises(ModelError, match="leave trust_remote_code out"):
        DatatrialLM(ModelRef.read(base).weights, trust_remote_code=True, device="cpu")
