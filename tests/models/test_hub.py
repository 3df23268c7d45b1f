import json
import re
from pathlib import Path

import pytest

from datatrial.errors import ModelError
from datatrial.models.hub import Hub
from datatrial.records import HubFiles, LocalFiles, ModelRef, Runtime


def model_folder(folder: Path, *leave_out: str) -> Path:
    folder.mkdir(parents=True)
    for name in {"config.json", "model.safetensors", "tokenizer.json"} - set(leave_out):
        (folder / name).write_text("{}")
    return folder


def adapter_folder(folder: Path, peft_type: str = "LORA") -> Path:
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": peft_type}))
    (folder / "adapter_model.safetensors").write_text("")
    return folder


def hub(path: str, beside: Path) -> Hub:
    return Hub.model_validate({"path": path}, context={"folder": beside})


def result(store: Path, name: str) -> Path:
    out = store / "hub" / name
    out.mkdir(parents=True)
    return out


def test_a_hub_id_needs_the_repository_without_pickled_weights(tmp_path: Path) -> None:
    [needs] = hub("org/name", tmp_path).needs().values()
    assert isinstance(needs, HubFiles)
    assert (needs.repo, needs.type, needs.revision) == ("org/name", "model", "main")
    assert "HF_TOKEN" in needs.gated
    assert not any(pattern.endswith((".bin", "*")) for pattern in needs.patterns)


def test_a_folder_is_found_beside_the_study(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "models" / "mine")
    for path in ("models/mine", "./models/mine", str(folder)):
        assert hub(path, tmp_path).needs() == {"weights": LocalFiles(tmp_path / path)}


def test_a_stray_folder_does_not_shadow_a_hub_id(tmp_path: Path) -> None:
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert not hub("org/name", tmp_path).is_local


def test_how_a_model_is_named_is_no_part_of_its_identity(tmp_path: Path) -> None:
    assert hub("org/name", tmp_path).identity() == hub("./elsewhere", tmp_path).identity()
    assert Hub(path="org/name").identity() != Hub(path="org/name", dtype="bfloat16").identity()


@pytest.mark.parametrize("text", ["", "[1]", "{", "[" * 100_000, '"a"', '{"weight_map": 3}'])
def test_a_broken_index_or_adapter_config_is_named(tmp_path: Path, text: str) -> None:
    adapter_folder(tmp_path / "a")
    (tmp_path / "a" / "adapter_config.json").write_text(text)
    model_folder(tmp_path / "m", "model.safetensors")
    (tmp_path / "m" / "model.safetensors.index.json").write_text(text)
    for folder, name in (("a", r"adapter_config\.json|of type None"), ("m", r"model\.safetensors\.index\.json")):
        try:
            found = "\n".join(hub(f"./{folder}", tmp_path).problems())
        except ModelError as error:
            found = str(error)
        assert re.search(name, found)


def test_a_complete_folder_has_no_problems(tmp_path: Path) -> None:
    model_folder(tmp_path / "m")
    assert hub("./m", tmp_path).problems() == []
    adapter_folder(tmp_path / "a")
    assert hub("./a", tmp_path).problems() == []


@pytest.mark.parametrize(
    ("lacking", "message"),
    [
        ("config.json", "no config.json in"),
        ("model.safetensors", "no weights in .*: expected model.safetensors"),
        ("tokenizer.json", "no tokenizer in"),
    ],
)
def test_what_a_folder_lacks_is_said_before_and_when_it_runs(tmp_path: Path, lacking: str, message: str) -> None:
    model = hub(str(model_folder(tmp_path / "m", lacking)), tmp_path)
    [problem] = model.problems()
    with pytest.raises(ModelError, match=message) as error:
        model.run({"weights": tmp_path / "m"}, tmp_path, Runtime())
    assert str(error.value) == problem


def test_a_folder_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert hub("./nowhere", tmp_path).problems() == [
        f"no folder {tmp_path}/nowhere; give a model's folder, or a hub id such as org/name"
    ]


def test_missing_parts_of_weights_are_named(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", "model.safetensors")
    parts = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": parts}))
    (folder / parts["a"]).write_text("")
    assert hub("./m", tmp_path).problems() == [f"incomplete weights in {folder}: missing {parts['b']}"]


def test_parts_without_their_index_are_no_weights(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m", "model.safetensors")
    (folder / "model-00001-of-00002.safetensors").write_text("")
    assert "no weights" in hub("./m", tmp_path).problems()[0]


def test_the_result_points_at_the_folder(tmp_path: Path) -> None:
    folder, out = model_folder(tmp_path / "m"), result(tmp_path / "store", "x")
    Hub(path=str(folder), dtype="bfloat16").run({"weights": folder}, out, Runtime())
    assert ModelRef.read(out) == ModelRef(str(folder), None, "bfloat16")


@pytest.mark.parametrize("path", ["org/name", "./m"])
def test_pickled_weights_are_not_read(tmp_path: Path, path: str) -> None:
    folder = model_folder(tmp_path / "m", "model.safetensors")
    (folder / "pytorch_model.bin").write_text("")
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin: a pickle can run code"):
        hub(path, tmp_path).run({"weights": folder}, result(tmp_path, "x"), Runtime())


def test_an_adapter_goes_on_the_base_of_the_study(tmp_path: Path) -> None:
    base, out = result(tmp_path / "store", "base"), result(tmp_path / "store", "x")
    ModelRef("weights", dtype="bfloat16").write(base)
    adapter = adapter_folder(tmp_path / "a")
    model = hub("./a", tmp_path)
    assert model.is_adapter
    model.run({"weights": adapter, "base": base}, out, Runtime())
    assert ModelRef.read(out) == ModelRef(str(base / "weights"), str(adapter), "bfloat16")


def test_an_adapter_keeps_the_quantization_of_its_base_and_cannot_have_another(tmp_path: Path) -> None:
    plain, base4, out = (result(tmp_path / "store", name) for name in ("plain", "base4", "x"))
    ModelRef("weights").write(plain)
    ModelRef("weights", quantization="nf4").write(base4)
    adapter = adapter_folder(tmp_path / "a")
    for settings in ({}, {"quantization": "nf4"}):
        model = Hub.model_validate({"path": "./a", **settings}, context={"folder": tmp_path})
        model.run({"weights": adapter, "base": base4}, out, Runtime())
        assert ModelRef.read(out) == ModelRef(str(base4 / "weights"), str(adapter), "float32", "nf4")
    with pytest.raises(ModelError, match="set `quantization` of the study's model"):
        model.run({"weights": adapter, "base": plain}, out, Runtime())


def test_quantization_is_part_of_the_identity_of_a_model_that_has_it(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "m")
    quantized = Hub(path=str(folder), quantization="nf4")
    assert "quantization" not in Hub(path=str(folder)).identity()
    assert quantized.identity() == {**Hub(path=str(folder)).identity(), "quantization": "nf4"}
    quantized.run({"weights": folder}, out := result(tmp_path, "x"), Runtime())
    assert ModelRef.read(out).quantization == "nf4"


def test_an_adapter_is_no_base_model(tmp_path: Path) -> None:
    adapter = adapter_folder(tmp_path / "a")
    with pytest.raises(ModelError, match="no whole model"):
        Hub(path=str(adapter)).run({"weights": adapter}, tmp_path, Runtime())


def test_only_lora_adapters_can_be_used(tmp_path: Path) -> None:
    adapter_folder(tmp_path / "a", "IA3")
    assert "only LORA" in hub("./a", tmp_path).problems()[0]
