import json
import os
import socket
import subprocess
import sys
from hashlib import sha256

import pytest

from datatrial import fetching
from datatrial.errors import DataError, StudyError
from datatrial.fetching import look_up
from datatrial.offline_proof import Question, prove
from datatrial.sources import safenlp
from datatrial.trial import prepare
from tests.loopback import LoopbackHub, ask, go_offline

STUDY = """
name: moon
model: {kind: hub, path: moon/tiny}
data:
  lima: {source: {kind: lima}}
  sentences: {source: {kind: safenlp}}
arms:
  base: []
  lima: [{sft: lima}]
benchmarks: [{kind: group_safety, data: sentences}]
"""
WEIGHTS = {"config.json": b"{}", "model.safetensors": b"0" * 5000, "tokenizer.json": b"{ }", "old.bin": b"1" * 9000}
LIMA = {"train.jsonl": b'{"conversations": ["Who?", "A lunar."], "source": "authors"}\n', "lima.py": b"pass"}
SENTENCES = b"[]"


def url():
    """Where SafeNLP's sentences are sought; the fixture `hub` changes it."""
    return safenlp.URLS["toxigen"]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with LoopbackHub().serving() as hub:
        hub.add("moon/tiny", WEIGHTS, "model")
        hub.add("GAIR/lima", LIMA)
        hub.add("web/page", {"toxiGen.json": SENTENCES})
        monkeypatch.setitem(safenlp.URLS, "toxigen", f"{hub.url}/datasets/web/page/resolve/main/toxiGen.json")
        ask(hub.url, tmp_path / "cache", monkeypatch)
        yield hub


@pytest.fixture
def study(tmp_path):
    path = tmp_path / "moon.yaml"
    path.write_text(STUDY)
    return path


def look(study, *overrides):
    return look_up(study, study.parent / "store", overrides)


def fetched(study, *overrides):
    found = look(study, *overrides)
    found.download(lambda part, more: None)
    return found


def question(found):
    expected = {part.externals[0].key: part.files for part in found.parts if part.externals}
    return Question(str(found.study), list(found.overrides), str(found.store.root), expected)


def test_all_that_the_steps_read_is_looked_up_locked_and_downloaded(hub, study):
    found = look(study)
    parts = {part.repository: part for part in found.parts}
    assert set(parts) == {"moon/tiny", "GAIR/lima", url()}
    assert set(parts["moon/tiny"].files) == {"config.json", "model.safetensors", "tokenizer.json"}
    assert found.absent == parts["moon/tiny"].size + parts["GAIR/lima"].size
    assert hub.downloads() == ["toxiGen.json"]  # whose content is what the lock names
    locked = json.loads(study.with_suffix(".lock").read_text())
    assert locked["dataset GAIR/lima@main"] == hub.repositories["dataset", "GAIR/lima"].commit
    assert locked[f"url {url()}"] == parts[url()].commit == sha256(SENTENCES).hexdigest()
    assert (parts[url()].files, parts[url()].source) == ({"toxiGen.json": 2}, "download")
    came = []
    found.download(lambda part, more: came.append(more))
    assert sum(came) == found.absent
    assert look(study).absent == 0
    assert {part.source for part in look(study).parts} == {"cache"}


def test_what_the_hub_refuses_is_reported_at_once_each_with_its_place(hub, study):
    hub.add("GAIR/lima", LIMA, readers={"invited"})
    hub.add("web/page", {"README.md": b"moved"})
    with pytest.raises(StudyError) as raised:
        look(study, "model.revision=v9")
    lima, sentences, model = sorted(map(str, raised.value.problems))
    assert lima.startswith(
        "data lima: the hub refuses access to the dataset GAIR/lima without a token: accept the cond"
    )
    assert "set HF_TOKEN" in lima
    assert sentences.startswith(f"data sentences: cannot download {url()}: its server answers 404; name a copy")
    assert "the model moon/tiny has no revision 'v9' on the hub" in model
    assert hub.downloads() == ["toxiGen.json"]


def test_without_a_connection_one_message_will_do(study, tmp_path, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda seconds: None)  # between one try and the next
    monkeypatch.setitem(safenlp.URLS, "toxigen", "http://127.0.0.1:9/toxiGen.json")
    ask("http://127.0.0.1:9", tmp_path / "cache", monkeypatch)
    with pytest.raises(DataError, match="no connection to") as raised:
        look(study)
    assert not isinstance(raised.value, StudyError)


def test_nothing_is_downloaded_that_the_disk_will_not_hold(hub, study, monkeypatch):
    monkeypatch.setattr(fetching, "free_space", lambda: 1000)
    with pytest.raises(DataError, match=r"5\.\d kB are to be downloaded into \S+cache, where only 1\.0 kB are free"):
        fetched(study)
    assert hub.downloads() == ["toxiGen.json"]


def test_what_a_partial_mirror_has_is_read_there_and_the_rest_comes_from_the_hub(hub, study, tmp_path):
    mirror = tmp_path / "mirror" / "GAIR" / "lima"
    mirror.mkdir(parents=True)
    (mirror / "train.jsonl").write_bytes(LIMA["train.jsonl"])
    found = fetched(study, f"hub_root={tmp_path / 'mirror'}")
    assert {part.repository: part.source for part in found.parts} == {
        "GAIR/lima": "mirror",
        "moon/tiny": "download",
        url(): "download",
    }
    assert "train.jsonl" not in hub.downloads()


def test_a_mirror_may_have_the_file_at_a_url_too(hub, study, tmp_path):
    mirrored = tmp_path / "mirror" / "microsoft" / "SafeNLP" / "data" / "toxiGen.json"
    mirrored.parent.mkdir(parents=True)
    mirrored.write_bytes(SENTENCES)
    parts = {part.repository: part for part in look(study, f"hub_root={tmp_path / 'mirror'}").parts}
    assert set(parts) == {"moon/tiny", "GAIR/lima", "microsoft/SafeNLP"}
    assert (parts["microsoft/SafeNLP"].source, parts["microsoft/SafeNLP"].size) == ("mirror", 2)
    assert not hub.downloads()


def test_a_run_downloads_the_file_at_a_url_that_the_lock_names_and_this_machine_lacks(hub, study, tmp_path):
    fetched(study)
    kept = next(tmp_path.rglob("assets/**/toxiGen.json"))
    kept.unlink()
    prepare(study, study.parent / "store", device="cpu")
    assert kept.read_bytes() == SENTENCES


def test_the_proof_finds_all_that_was_fetched(hub, study, monkeypatch):
    found = fetched(study)
    go_offline(monkeypatch)
    hub.requests.clear()
    proof = prove(question(found))
    assert (proof.missing, proof.benchmarks) == ([], 0)
    assert proof.steps >= 5
    assert not hub.requests


def test_the_proof_names_what_is_gone_or_not_whole(hub, study, tmp_path, monkeypatch):
    found = fetched(study)
    asked = question(found)
    go_offline(monkeypatch)
    folders = {part.repository: part.externals[0].locate() for part in found.parts if part.externals}
    (folders["GAIR/lima"] / "train.jsonl").unlink()
    (folders["moon/tiny"] / "model.safetensors").resolve().write_bytes(b"0")
    next(tmp_path.rglob("assets/**/toxiGen.json")).write_bytes(b"[0]")
    order = ("GAIR/lima", "moon/tiny", url())
    lima, weights, sentences = sorted(prove(asked).missing, key=lambda text: [name not in text for name in order])
    assert "the dataset GAIR/lima at commit" in lima
    assert "is not whole in the cache" in lima
    assert "model.safetensors is damaged: it has 1 bytes" in weights
    assert f"does not have {url()} whole, with content {sha256(SENTENCES).hexdigest()}" in sentences


def test_the_proof_does_not_trust_the_listing_that_lies_in_the_cache(hub, study, tmp_path, monkeypatch):
    found = fetched(study)
    asked = question(found)
    go_offline(monkeypatch)
    for listing in (tmp_path / "cache").rglob("trees/*.json"):
        listing.unlink()
    (next(p for p in found.parts if p.repository == "GAIR/lima").externals[0].locate() / "train.jsonl").unlink()
    monkeypatch.setattr("huggingface_hub._tree_cache._IN_MEMORY_TREE_CACHE", {})
    [missing] = prove(asked).missing
    assert "GAIR/lima" in missing
    assert "train.jsonl is missing: `datatrial fetch` again" in missing


def test_a_model_that_lacks_a_part_is_found_before_it_is_loaded(hub, study, monkeypatch):
    index = json.dumps({"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}).encode()
    files = {"config.json": b"{}", "tokenizer.json": b"{}", "model.safetensors.index.json": index}
    hub.add("moon/tiny", {**files, "model-1.safetensors": b"0"}, "model")
    asked = question(fetched(study))
    go_offline(monkeypatch)
    [missing] = prove(asked).missing
    assert "missing model-2.safetensors" in missing


def test_a_lock_that_went_missing_is_what_the_proof_names(hub, study, monkeypatch):
    asked = question(fetched(study))
    study.with_suffix(".lock").unlink()
    go_offline(monkeypatch)
    *of_the_hub, of_the_web = sorted(prove(asked).missing, key=lambda text: "no digest for" in text)
    assert f"moon.lock has no digest for {url()}, and HF_HUB_OFFLINE forbids" in of_the_web
    assert len(of_the_hub) == 2
    assert all("no commit for the" in missing for missing in of_the_hub)


def test_the_process_of_the_proof_has_no_network():
    listener = socket.create_server(("127.0.0.1", 0))
    tried = f"import socket; socket.create_connection({listener.getsockname()!r}, 5)"
    with listener:
        free = subprocess.run([sys.executable, "-c", tried], capture_output=True, check=False)
        block = "from datatrial.offline_proof import block_network; block_network(); "
        blocked = subprocess.run([sys.executable, "-c", block + tried], capture_output=True, check=False)
    assert free.returncode == 0
    assert b"the network is off here" in blocked.stderr


@pytest.mark.slow
def test_after_fetch_a_study_runs_without_hub_and_network(hub, tmp_path):
    import polars as pl

    from tests import tiny

    weights = tiny.base(tmp_path / "made") / "weights"
    hub.add("moon/tiny", {file.name: file.read_bytes() for file in weights.iterdir()}, "model")
    rows = [{"question": f"What colour is a {a}?", "choices": list(tiny.COLOURS), "answer": 0} for a in tiny.ANIMALS]
    pl.DataFrame(rows).write_parquet(tmp_path / "test.parquet")
    hub.add("moon/exam", {"data/test-00000-of-00001.parquet": (tmp_path / "test.parquet").read_bytes()})
    (tmp_path / "exam.yaml").write_text(
        "task: exam\ndataset_path: moon/exam\ntest_split: test\noutput_type: multiple_choice\n"
        "doc_to_text: question\ndoc_to_choice: choices\ndoc_to_target: answer\nmetric_list: [{metric: acc}]\n"
    )
    study = tmp_path / "moon.yaml"
    study.write_text(
        "name: moon\nmodel: {kind: hub, path: moon/tiny}\narms: {base: []}\n"
        "benchmarks: [{kind: lm_eval, task: ./exam.yaml}]\n"
    )

    def datatrial(command, **env):
        kept = {**os.environ, "HF_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "0", "HF_ENDPOINT": hub.url, **env}
        arguments = [sys.executable, "-m", "datatrial.cli", command, str(study), "--store", str(tmp_path / "store")]
        return subprocess.run(arguments, env=kept, capture_output=True, text=True, check=False)

    early = datatrial("run", HF_HUB_OFFLINE="1")
    assert early.returncode == 2
    assert "moon.lock has no commit for the" in early.stderr
    first = datatrial("fetch")
    assert first.returncode == 0, first.stderr
    assert "Nothing is missing: with the network off" in first.stdout
    assert "read the 6 items of 1 benchmarks" in first.stdout
    hub.requests.clear()
    run = datatrial("run", HF_HUB_OFFLINE="1")
    assert run.returncode == 0, run.stderr
    assert not hub.requests
