import errno

import pytest

from datatrial.errors import DataError
from datatrial.externals import HubExternal, Lock, Resolver
from datatrial.hub_errors import HubUnreachableError
from datatrial.records import HubFiles
from tests.loopback import LoopbackHub, ask, go_offline

TALES = HubFiles("moon/tales", patterns=("train.jsonl", "extra/*"))
FILES = {"train.jsonl": b'{"text": "Once."}\n' * 200, "extra/more.txt": b"more" * 50, "README.md": b"# Tales"}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with LoopbackHub().serving() as hub:
        ask(hub.url, tmp_path / "cache", monkeypatch)
        yield hub


def resolved(needs=TALES, lock=None, hub_root=None) -> HubExternal:
    external = Resolver(lock or Lock(None), hub_root, ask_hub=True).resolve(needs)
    assert isinstance(external, HubExternal)
    return external


def fetched(needs=TALES) -> HubExternal:
    external = resolved(needs)
    external.fetch(lambda more: None)
    return external


def failure(work, *args, **kwargs) -> str:
    with pytest.raises(DataError) as raised:
        work(*args, **kwargs)
    return str(raised.value)


def test_what_was_asked_for_is_downloaded_and_found_without_the_network(hub, monkeypatch):
    commit = hub.add("moon/tales", FILES)
    external = fetched()
    assert external.digest == commit
    go_offline(monkeypatch)
    hub.requests.clear()
    folder = external.locate()
    external.fetch()
    found = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert found == {"train.jsonl", "extra/more.txt"}
    assert (folder / "train.jsonl").read_bytes() == FILES["train.jsonl"]
    assert not hub.requests


def test_nothing_is_asked_when_all_is_there(hub):
    hub.add("moon/tales", FILES)
    external = fetched()
    hub.requests.clear()
    external.fetch()
    assert not hub.requests


def test_the_bytes_that_come_are_told_as_they_come(hub):
    hub.add("moon/tales", FILES)
    came: list[int] = []
    resolved().fetch(came.append)
    assert sum(came) == len(FILES["train.jsonl"]) + len(FILES["extra/more.txt"])


def test_a_gated_repository_says_what_to_accept_and_which_variable_holds_the_token(hub):
    hub.add("moon/tales", FILES, readers={"invited"})
    said = failure(fetched)
    assert "refuses access to the dataset moon/tales without a token: accept its terms at" in said
    assert "https://huggingface.co/datasets/moon/tales and set HF_TOKEN" in said
    own = resolved(HubFiles("moon/tales", gated="ask the moon, and set HF_TOKEN"))
    assert "without a token: ask the moon, and set HF_TOKEN" in failure(own.check_access)


def test_a_token_without_access_is_told_from_no_token(hub, monkeypatch):
    hub.add("moon/tales", FILES, readers={"invited"})
    monkeypatch.setenv("HF_TOKEN", "stranger")
    said = failure(fetched)
    assert "refuses your token access to the dataset moon/tales" in said
    assert "you are not in the authorized list" in said
    monkeypatch.setenv("HF_TOKEN", "mistyped")
    assert "does not accept your token" in failure(fetched)
    monkeypatch.setenv("HF_TOKEN", "invited")
    assert (fetched().locate() / "train.jsonl").exists()


def test_a_revision_that_is_not_there_is_named(hub):
    hub.add("moon/tales", FILES)
    said = failure(resolved, HubFiles("moon/tales", revision="v9"))
    assert "no revision 'v9' on the hub: https://huggingface.co/datasets/moon/tales/tree/main lists" in said


def test_a_locked_commit_that_is_gone_is_named_with_the_lock(hub, tmp_path):
    hub.add("moon/tales", FILES)
    lock = Lock(tmp_path / "study.lock", {Lock.key(TALES): "0" * 40})
    said = failure(resolved(lock=lock).fetch)
    assert f"no commit {'0' * 40} on the hub, which {tmp_path}/study.lock names for its revision 'main'" in said


def test_a_repository_that_is_nowhere_is_named_with_the_mirror_that_lacks_it(hub, tmp_path):
    said = failure(resolved)
    assert "the dataset moon/tales is not on the hub: check its name; to see a private one, set HF_TOKEN" in said
    assert "set hub_root" in said
    assert f"hub_root {tmp_path} has no folder moon/tales/" in failure(resolved, hub_root=tmp_path)


def test_without_any_connection_the_hub_and_the_lacking_mirror_are_named(tmp_path, monkeypatch):
    ask("http://127.0.0.1:9", tmp_path, monkeypatch)  # nothing listens on the discard port
    with pytest.raises(HubUnreachableError) as raised:
        resolved(hub_root=tmp_path)
    assert "no connection to http://127.0.0.1:9" in str(raised.value)
    assert f"hub_root {tmp_path} has no folder moon/tales/" in str(raised.value)


def test_offline_what_the_lock_or_the_cache_lacks_is_told_apart(hub, tmp_path, monkeypatch):
    hub.add("moon/tales", FILES)
    external = resolved()
    go_offline(monkeypatch)
    said = failure(external.fetch)
    assert "is not whole in the cache" in said
    assert "HF_HUB_OFFLINE forbids asking the hub: run `datatrial fetch` on the study" in said
    said = failure(resolved, lock=Lock(tmp_path / "study.lock"))
    assert "study.lock has no commit for the dataset moon/tales at revision 'main', and HF_HUB_OFFLINE" in said
    assert "no lock names the commit for the dataset" in failure(HubExternal(TALES, None).locate)


def test_a_dropped_connection_is_taken_up_where_it_broke(hub, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)  # bytes; what is written at a time
    hub.add("moon/tales", FILES)
    hub.cuts["train.jsonl"] = [1000]
    folder = fetched().locate()
    assert (folder / "train.jsonl").read_bytes() == FILES["train.jsonl"]
    assert any(asked.endswith("train.jsonl bytes=1000-") for asked in hub.requests)


def test_after_an_interrupted_download_the_next_one_fetches_only_what_is_missing(hub):
    hub.add("moon/tales", FILES)
    hub.resets["train.jsonl"] = 1000
    said = failure(fetched)
    assert "cannot read the dataset moon/tales from the hub" in said
    assert "run again; files that came whole are kept" in said
    external = resolved()
    assert external.absent() == {"train.jsonl": len(FILES["train.jsonl"])}
    assert "is not whole in the cache" in failure(external.locate)
    hub.resets.clear()
    hub.requests.clear()
    external.fetch()
    assert hub.downloads() == ["train.jsonl"]
    assert (external.locate() / "train.jsonl").read_bytes() == FILES["train.jsonl"]


def test_a_truncated_file_in_the_cache_is_named_and_fetched_anew(hub):
    hub.add("moon/tales", FILES)
    external = fetched()
    file = external.locate() / "train.jsonl"
    file.write_bytes(file.read_bytes()[:100])
    said = failure(external.locate)
    assert f"{file} is damaged: it has 100 bytes, and the dataset moon/tales lists 3600; `datatrial fetch`" in said
    hub.requests.clear()
    external.fetch()
    assert hub.downloads() == ["train.jsonl"]
    assert (external.locate() / "train.jsonl").read_bytes() == FILES["train.jsonl"]


def test_a_file_that_vanished_from_the_cache_is_not_overlooked(hub, monkeypatch):
    hub.add("moon/tales", FILES)
    external = fetched()
    (external.locate() / "extra" / "more.txt").unlink()
    go_offline(monkeypatch)
    assert "is not whole in the cache" in failure(external.locate)


def test_a_repository_whose_files_have_other_names_now_says_what_it_has(hub, tmp_path):
    commit = hub.add("moon/tales", {"data/train-00000.parquet": b"rows", "README.md": b"# Tales"})
    said = failure(resolved(lock=Lock(tmp_path / "study.lock")).fetch)
    assert f"at commit {commit} has no train.jsonl; it has README.md, data/train-00000.parquet: it is laid out" in said
    assert "Put an earlier commit of it" in said
    assert f"into {tmp_path}/study.lock" in said
    assert "has no *.json; it has" in failure(resolved(HubFiles("moon/tales", patterns=("*.json",))).files)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "no space"), "the disk is full"),
        (OSError(errno.EROFS, "read-only"), "set HF_HOME to a folder you can write to"),
        (
            RuntimeError("no such storm"),
            "from the hub (RuntimeError: no such storm): check the connection",
        ),
    ],
)
def test_what_stops_a_download_is_named_with_a_way_out(hub, monkeypatch, error, message):
    from huggingface_hub import file_download

    def stop(*args, **kwargs):
        raise error

    hub.add("moon/tales", FILES)
    monkeypatch.setattr(file_download, "http_get", stop)
    assert message in failure(fetched)


def test_a_hub_that_lists_files_elsewhere_is_not_followed(hub, tmp_path):
    mine = tmp_path / "mine.txt"
    mine.write_text("mine")
    hub.add("moon/tales", {"../../../../mine.txt": b"theirs, and of another size", "a.txt": b"a"})
    external = resolved(HubFiles("moon/tales", patterns=("*.txt",)))
    for work in (external.files, external.fetch):
        assert "lists a file outside of itself: '../../../../mine.txt'" in failure(work)
    assert mine.read_text() == "mine"
