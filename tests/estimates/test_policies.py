"""What is known of a model before it is downloaded or trained."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.estimates.policies import Policy, policy_of
from datatrial.externals import LocalExternal
from datatrial.hub import HubExternal
from datatrial.memory import weights
from datatrial.models._base import Model
from datatrial.models.from_scratch import FromScratch
from datatrial.models.hub import Hub
from datatrial.records import HubFiles, Runtime
from datatrial.training.sft import Sft

CONFIG = {
    "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 500, "max_position_embeddings": 128,
}  # fmt: skip
COMMIT = "c" * 40


@pytest.fixture(autouse=True)
def no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf"


def hub(name: str, tmp_path: Path, **settings: object) -> Policy:
    model = Hub.model_validate({"path": name, **settings})
    needs = HubFiles(name, "model")
    return policy_of(Step(model, {}, {"weights": HubExternal(needs, COMMIT)}), Store(tmp_path / "store"))


def test_a_public_model_has_its_published_shape(tmp_path: Path) -> None:
    policy = hub("meta-llama/Llama-2-7b-hf", tmp_path, dtype="bfloat16")
    assert policy.shape
    assert policy.shape.parameters == 6_738_415_616
    assert not policy.guess
    assert weights(policy.shape, 2, policy.quantized) == 2 * 6_738_415_616


def test_four_bits_are_kept_of_all_but_embeddings_head_and_norms(tmp_path: Path) -> None:
    policy = hub("meta-llama/Llama-2-7b-hf", tmp_path, dtype="bfloat16", quantization="nf4")
    assert policy.shape
    # 6.48 B parameters in 4.127 bits, the other 0.26 B in 16: what bitsandbytes loads is 3.9 GB.
    assert weights(policy.shape, 2, policy.quantized) == pytest.approx(3.87e9, rel=0.01)


def test_a_size_in_a_name_is_a_guess_and_said_to_be_one(tmp_path: Path) -> None:
    policy = hub("someone/storyteller-13b-v2", tmp_path)
    assert policy.guess
    assert policy.shape
    assert policy.shape.parameters == pytest.approx(13e9, rel=0.1)
    assert any("a guess" in note for note in policy.notes)


def test_nothing_is_invented_about_a_model_without_a_size(tmp_path: Path) -> None:
    policy = hub("someone/storyteller", tmp_path)
    assert policy.shape is None
    assert any("unknown until it is downloaded" in note for note in policy.notes)


def test_a_model_in_the_cache_is_read_there(tmp_path: Path, no_cache: Path) -> None:
    snapshot = no_cache / "hub" / "models--someone--storyteller" / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text(json.dumps(CONFIG))
    policy = hub("someone/storyteller", tmp_path)
    assert policy.shape
    assert (policy.shape.layers, policy.shape.kv_width, policy.shape.longest) == (2, 32, 128)


def test_a_folder_is_read_with_its_tokenizer(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = {chr(n): n for n in range(32, 127)}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    folder = tmp_path / "model"
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps(CONFIG))
    step = Step(Hub(path=str(folder)), {}, {"weights": LocalExternal(folder, "digest")})
    policy = policy_of(step, Store(tmp_path / "store"))
    assert policy.shape
    assert 1.0 < policy.characters_per_token < 1.5  # a letter is a token, and blanks are none


@pytest.mark.parametrize(
    "config",
    ["[1]", "{", '{"text_config": 3}', json.dumps({**CONFIG, "hidden_size": "64", "num_attention_heads": [1]})],
)
def test_of_a_folder_with_broken_files_nothing_is_known(tmp_path: Path, config: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text(config)
    (folder / "tokenizer.json").write_text('{"model": 3}')
    policy = policy_of(Step(Hub(path=str(folder)), {}, {"weights": LocalExternal(folder, "digest")}), Store(tmp_path))
    assert policy.shape is None
    assert policy.characters_per_token == 4.0


def test_a_model_trained_here_has_the_shape_of_its_settings(tmp_path: Path) -> None:
    model = FromScratch(corpus=("texts",), vocab_size=1000, hidden_size=64, layers=3, heads=4)
    policy = policy_of(Step(model), Store(tmp_path))
    assert policy.shape
    assert (policy.shape.vocabulary, policy.shape.tied) == (1000, True)
    small, large = policy.characters_per_token, hub("meta-llama/Llama-2-7b-hf", tmp_path).characters_per_token
    assert small < large == 4.0


class Grown(Model):
    """A kind of model that estimates were not told of."""

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None: ...


def test_of_a_model_of_another_kind_no_size_is_known_and_that_is_said(tmp_path: Path) -> None:
    below = Step(Grown(dtype="bfloat16", quantization="nf4"))
    policy = policy_of(Step(Sft(), {"policy": below}), Store(tmp_path))
    assert (policy.shape, policy.dtype, policy.quantized) == (None, "bfloat16", True)
    assert policy.notes[0] == "size of a model of kind test_policies: unknown until it is made"
