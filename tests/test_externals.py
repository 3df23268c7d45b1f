import hashlib
import json
import os
from pathlib import Path

import pytest

from datatrial.errors import DataError
from datatrial.externals import HubExternal, LocalExternal, Lock, Resolver
from datatrial.records import HubFiles, LocalFiles

LIMA = HubFiles("GAIR/lima", patterns=("*.jsonl",), gated="accept the terms, set HF_TOKEN")


def mirror(root, text="rows", name="train.jsonl"):
    folder = root / "GAIR" / "lima"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)
    return root


def test_a_file_is_identified_by_its_content_not_its_place(tmp_path):
    resolver = Resolver(Lock(None))
    for name in ("a", "b"):
        (tmp_path / name).write_text("same")
    one, other = (resolver.resolve(LocalFiles(tmp_path / name)) for name in ("a", "b"))
    assert one.digest == other.digest
    (tmp_path / "b").write_text("else")
    assert resolver.resolve(LocalFiles(tmp_path / "b")).digest != one.digest


def test_hub_root_stands_in_for_the_hub_and_counts_by_content(tmp_path):
    whole, partial = mirror(tmp_path / "whole", "row\nrow\n"), mirror(tmp_path / "partial", "row\n")
    found = [Resolver(Lock(None), root).resolve(LIMA) for root in (whole, partial)]
    assert all(isinstance(external, LocalExternal) for external in found)
    assert found[0].digest != found[1].digest
    assert found[0].locate() == whole / "GAIR" / "lima"
    assert (found[0].repo, found[0].sizes()) == ("GAIR/lima", {"train.jsonl": 8})


def test_only_the_files_asked_for_count(tmp_path):
    root = mirror(tmp_path)
    before = Resolver(Lock(None), root).resolve(LIMA).digest
    mirror(tmp_path, "about", "README.md")
    assert Resolver(Lock(None), root).resolve(LIMA).digest == before
    mirror(tmp_path, "more", "test.jsonl")
    assert Resolver(Lock(None), root).resolve(LIMA).digest != before


def test_a_mirror_without_the_files_asked_for_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"GAIR/lima holds none of the files looked for \(\*\.jsonl\)"):
        Resolver(Lock(None), mirror(tmp_path, name="other.txt")).resolve(LIMA)


def test_a_repository_that_the_mirror_lacks_is_taken_from_the_hub(tmp_path):
    external = Resolver(Lock(None), tmp_path).resolve(LIMA)
    assert isinstance(external, HubExternal)
    assert "not resolved yet" in external.digest


def test_the_locked_commit_is_used_from_then_on(tmp_path, monkeypatch):
    import huggingface_hub

    class Hub:
        def repo_info(self, repo, repo_type, revision):
            assert (repo, repo_type, revision) == ("GAIR/lima", "dataset", "main")
            return type("Info", (), {"sha": "1" * 40})

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    study = tmp_path / "study.yaml"
    assert Resolver(Lock.beside(study), ask_hub=True).resolve(LIMA).digest == "1" * 40
    assert json.loads((tmp_path / "study.lock").read_text()) == {"dataset GAIR/lima@main": "1" * 40}
    monkeypatch.setattr(Hub, "repo_info", lambda *a, **k: pytest.fail("asked the hub again"))
    assert Resolver(Lock.beside(study), ask_hub=True).resolve(LIMA).digest == "1" * 40


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="there is no"):
        Resolver(Lock(None)).resolve(LocalFiles(tmp_path / "nowhere"))


@pytest.mark.parametrize("repo", ["..", "a/..", "../a", "a/../../b", "/etc", "./a", "a//b"])
def test_no_name_of_a_repository_leads_out_of_the_mirror(tmp_path, repo):
    mirror(tmp_path / "mirror")
    for root in (tmp_path / "mirror", None):
        with pytest.raises(DataError, match="is no repository of the hub: it should be org/name"):
            Resolver(Lock(None), root).resolve(HubFiles(repo))


def test_a_pipe_or_a_device_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(DataError, match="is neither a file nor a folder"):
            Resolver(Lock(None)).resolve(LocalFiles(path))
    folder = mirror(tmp_path / "mirror") / "GAIR" / "lima"
    before = Resolver(Lock(None)).resolve(LocalFiles(folder)).digest
    os.mkfifo(folder / "pipe.jsonl")
    assert Resolver(Lock(None)).resolve(LocalFiles(folder)).digest == before


def test_the_digest_of_a_large_file_is_remembered_until_it_changes(tmp_path, monkeypatch):
    from datatrial import externals

    monkeypatch.setattr(externals, "REMEMBERED_SIZE", 1)
    file, memory = tmp_path / "large", tmp_path / "digests.json"
    file.write_text("one")
    resolver = Resolver(Lock(None), remembered=memory)
    first = resolver.resolve(LocalFiles(file)).digest
    with monkeypatch.context() as patch:
        patch.setattr(externals, "file_digest", lambda path: pytest.fail("read again"))
        assert resolver.resolve(LocalFiles(file)).digest == first
    file.write_text("other")
    assert resolver.resolve(LocalFiles(file)).digest != first


def test_what_changes_during_a_run_is_not_taken_for_what_was_planned(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("one")
    external = Resolver(Lock(None)).resolve(LocalFiles(file))
    assert external.locate() == file
    file.write_text("other")
    with pytest.raises(DataError, match=r"rows\.jsonl has changed since this run began"):
        external.locate()


@pytest.mark.parametrize("text", ['{"a": "b",}', "[" * 100_000, "9" * 5000, "\xff"])
def test_a_broken_lock_is_named(tmp_path, text):
    (tmp_path / "study.lock").write_text(text, encoding="latin-1")
    with pytest.raises(DataError, match=r"study\.lock is not valid JSON"):
        Lock.beside(tmp_path / "study.yaml")


def test_a_lock_that_is_no_file_is_named(tmp_path):
    (tmp_path / "folder.lock").mkdir()
    os.mkfifo(tmp_path / "pipe.lock")
    for name in ("folder", "pipe"):
        with pytest.raises(DataError, match=rf"cannot read .*{name}\.lock, which keeps the hub's commits"):
            Lock.beside(tmp_path / f"{name}.yaml")


@pytest.mark.parametrize("text", ["{", "[1]", "[" * 100_000, '{"FILE": 3}', '{"FILE": [1, 2]}', '{"FILE": {}}'])
def test_a_broken_memory_of_digests_is_no_harm(tmp_path, monkeypatch, text):
    from datatrial import externals

    monkeypatch.setattr(externals, "REMEMBERED_SIZE", 0)
    file, memory = tmp_path / "file", tmp_path / "digests.json"
    file.write_text("x")
    memory.write_text(text.replace("FILE", str(file)))
    digest = Resolver(Lock(None), remembered=memory).resolve(LocalFiles(file)).digest
    assert digest == hashlib.sha256(b"x").hexdigest()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '{"dataset GAIR/lima@main": "v1.0"}',
            r"study\.lock: 'dataset GAIR/lima@main' should be a commit, all 40 digits",
        ),
        (
            f'{{"url https://moon.test/a.json": "{"1" * 40}"}}',
            "'url https://moon.test/a.json' should be a SHA-256, all 64",
        ),
        (f'{{"dataset GAIR/lima@main": "{"1" * 64}"}}', "should be a commit, all 40 digits"),
        ("[]", r"study\.lock is no mapping"),
    ],
)
def test_a_lock_names_full_commits_or_is_refused(tmp_path, text, message):
    (tmp_path / "study.lock").write_text(text)
    with pytest.raises(DataError, match=message):
        Lock.beside(tmp_path / "study.yaml")


def test_a_lock_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(DataError, match=r"cannot write .*/nowhere/study\.lock"):
        Lock(tmp_path / "nowhere" / "study.lock").add(LIMA, "1" * 40)
