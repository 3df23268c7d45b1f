"""Planted secrets are in nothing that is shown or written: logs, notes of failures, messages, copies elsewhere."""

import json
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import fsspec
import pytest
import yaml

from datatrial.engine import schedule
from datatrial.engine.local import LocalExecutor
from datatrial.engine.remote import RemoteStore
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.worker import explain, last_words
from datatrial.errors import DataError, Problem, StoreError, StudyError
from datatrial.hub import HubExternal
from datatrial.records import HubFiles
from datatrial.redaction import redact_file, redacted
from datatrial.study import Study
from tests.engine.tasks import Leak
from tests.loopback import ask

SECRET = "planted/5ecret+value"
IN_URLS = {
    "https://me:pl4nted@host.test/a?b=c": "https://***@host.test/a?b=c",
    "s3://AKIDEXAMPLE:pl/anted@bucket/x": "s3://AKIDEXAMPLE:pl/anted@bucket/x",  # no URL: a slash ends the host
    "https://pl4nted@host.test/": "https://***@host.test/",
    "see ftp://me:pl4nted@[::1]:2121/x, twice http://a:pl4nted@b": "see ftp://***@[::1]:2121/x, twice http://***@b",
    "https://b.test/x?X-Amz-Signature=pl4nted&part=1": "https://b.test/x?X-Amz-Signature=***&part=1",
    "https://b.test/x?sv=1&sig=pl4nted#a": "https://b.test/x?sv=1&sig=***#a",
    "https://b.test/?access_token=pl4nted": "https://b.test/?access_token=***",
    "{'Authorization': 'Bearer pl4nted'}": "{'Authorization': 'Bearer ***'}",
    "authorization: Basic pl4nted": "authorization: Basic ***",
    "token hf_" + "pl4nted" * 5: "token ***",
    "ghp_" + "pl4nted" * 5 + ".": "***.",
    "AKIA" + "P" * 16: "***",
}
PLAIN = [
    "https://huggingface.co/org/name/commits/main?token-free=yes",
    "hf://datasets/org/name@main/data.parquet",
    "git@github.com:org/name.git",
    "a standard bearer of lanterns, 12 tokens, key=value, task-one-of-many-hyphenated-words-in-a-row",
    "org/name@0123456789abcdef0123456789abcdef01234567",
]


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> str:
    """A secret of the environment."""
    monkeypatch.setenv("HF_TOKEN", SECRET)
    return SECRET


@pytest.mark.parametrize("text", IN_URLS)
def test_what_is_secret_in_urls_headers_and_by_its_form_is_hidden(text: str) -> None:
    assert redacted(text) == IN_URLS[text]


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert redacted(text) == text


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MY_PASSWORD", "my_secret"]
)
def test_the_value_of_a_secret_variable_is_hidden(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("OTHER_TOKEN", SECRET + "longer")
    assert redacted(f"a {SECRET}longer b {SECRET}") == "a *** b ***"


def test_the_value_of_other_variables_a_short_one_and_a_path_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {
        "TOKENIZERS_PARALLELISM": "parallel-false",
        "SOME_TOKEN": "short",
        "A_KEY": str(tmp_path),
        "KEYS": "a" * 9,
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    assert redacted(" ".join(values.values())) == " ".join(values.values())


def test_no_error_for_people_holds_a_secret(planted: str) -> None:
    problem = Problem("data", f"got {planted}", f"not {planted}")
    errors = [DataError(f"a {planted}"), StoreError("ftp://me:pl4nted@b"), StudyError([problem])]
    for said in [*map(str, errors), str(problem), explain(ValueError(f"for {planted}")), last_words(f"a {planted}")]:
        assert planted not in said
        assert "pl4nted" not in said
        assert "***" in said


def test_a_file_without_secrets_is_left_alone_and_bytes_that_are_no_text_stay(tmp_path: Path, planted: str) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"\xff\x00 plain\r\n")
    before = file.stat().st_mtime_ns
    redact_file(file)
    redact_file(tmp_path / "nowhere")
    assert (file.read_bytes(), file.stat().st_mtime_ns) == (b"\xff\x00 plain\r\n", before)
    file.write_bytes(b"\xff\x00 " + planted.encode() + b"\r\n")
    redact_file(file)
    assert file.read_bytes() == b"\xff\x00 ***\r\n"


def holding(folder: Path, *secrets: str) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return [path.name for path in files if any(s.encode() in path.read_bytes() for s in secrets)]


def test_what_steps_say_of_secrets_is_in_no_log_note_or_message(tmp_path: Path, planted: str) -> None:
    store, url = Store(tmp_path / "store"), "https://me:pl4nted@host.test/a"
    store.open()
    steps = [Step(Leak(f"{planted} at {url}")), Step(Leak(planted, dies=True))]
    messages = []
    with LocalExecutor(store, jobs=1, device="cpu") as executor:
        outcome = schedule.run(steps, store, executor, lambda event, _: messages.append(event.message))
    assert outcome.failed[steps[0].digest] == "RuntimeError: 401 for *** at https://***@host.test/a"
    assert "elsewhere ***" in outcome.failed[steps[1].digest]
    assert not [message for message in messages if planted in message or "pl4nted" in message]
    for words in ("in Python ***", "past it ***", "elsewhere ***", "RuntimeError: 401 for ***"):
        assert words in store.read_log(steps[0])
    assert holding(store.root, planted, "pl4nted") == []


def test_the_log_of_a_worker_that_died_is_finished_for_it(tmp_path: Path, planted: str) -> None:
    store, step = Store(tmp_path), Step(Leak(planted))
    store.open()
    store.log(step).write_text(f"its last words {planted}")
    store.finish_log(store.work(step))
    assert store.read_log(step) == "its last words ***"


def test_a_log_is_copied_to_a_store_at_a_url_without_secrets(
    tmp_path: Path, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATATRIAL_CACHE", str(tmp_path))
    url = f"memory://bucket-{uuid4().hex}/studies"
    store, step = RemoteStore(url), Step(Leak(planted))
    store.open()
    store.log(step).write_text(f"while it runs {planted}")
    store.keep_log(store.work(step))
    system, base = fsspec.core.url_to_fs(url)
    assert system.cat_file(f"{base}/logs/{step.name}.log") == b"while it runs ***"


def test_a_store_is_named_without_its_password() -> None:
    store = RemoteStore("ftp://me:pl4nted@127.0.0.1:9/x")
    assert str(store) == "ftp://***@127.0.0.1:9/x"
    assert "pl4nted" not in store.log_place(Step(Leak("")))
    with pytest.raises(StoreError, match=r"cannot use the store ftp://\*\*\*@127\.0\.0\.1:9/x: .*Connection refused"):
        store.open()
    assert store.__reduce__()[1] == ("ftp://me:pl4nted@127.0.0.1:9/x",)  # what a worker opens it with


def test_a_hub_that_does_not_answer_is_named_without_its_password(
    tmp_path: Path, planted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("http://me:pl4nted@127.0.0.1:9", tmp_path, monkeypatch)
    monkeypatch.setenv("HF_TOKEN", planted)
    with pytest.raises(DataError) as error:
        HubExternal(HubFiles("moon/tales"), None).ask()
    assert "no connection to http://***@127.0.0.1:9" in str(error.value)


STUDY = {
    "name": "s",
    "model": {"kind": "from_scratch", "corpus": ["a"]},
    "data": {"a": {"source": {"kind": "micro_world", "part": "corpus", "n": 9}}},
    "arms": {"base": []},
    "benchmarks": ["piqa"],
}


@pytest.fixture
def problems(tmp_path: Path) -> Callable[..., str]:
    def of(**settings: object) -> str:
        path = tmp_path / "s.yaml"
        path.write_text(yaml.safe_dump({**STUDY, **settings}))
        with pytest.raises(StudyError) as error:
            Study.load(path)
        return str(error.value)

    return of


@pytest.mark.parametrize(
    ("settings", "place"),
    [
        ({"about": "made of https://me:pl4nted@host.test/x"}, "about"),
        ({"assumptions": {"name": "as https://b.test/?sig=pl4nted says"}}, "assumptions.name"),
        ({"training": {"sft": {"trl": {"hub_token": "pl4nted"}}}}, "training.sft.trl.hub_token"),
        ({"training": {"sft": {"trl": {"report_to": ["hf_" + "pl4nted" * 5]}}}}, "training.sft.trl.report_to[0]"),
        ({"about": SECRET}, "about"),
    ],
)
def test_a_study_holds_no_secrets(
    problems: Callable[..., str], settings: dict[str, object], place: str, planted: str
) -> None:
    said = problems(**settings)
    assert f"{place}: holds a secret, which would be shown in the report" in said
    assert "pl4nted" not in said
    assert planted not in said


def test_a_token_for_the_hub_is_refused_with_the_reason(problems: Callable[..., str]) -> None:
    study = {"arms": {"base": [{"sft": "a", "learning_rate": 1.0, "trl": {"hub_token": ""}}]}}
    assert "TRL's 'hub_token' cannot be set here: a study is shown with its results" in problems(**study)


def test_output_for_programs_holds_none_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from datatrial.cli import app

    monkeypatch.setenv("DATATRIAL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(RemoteStore, "_listed", set())
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(STUDY))
    hub = tmp_path / "hub" / "baber" / "piqa"
    hub.mkdir(parents=True)
    (hub / "README.md").write_text("")
    command = ["plan", str(tmp_path / "s.yaml"), f"hub_root={tmp_path / 'hub'}", "--json"]
    done = CliRunner().invoke(app, [*command, "--store", "memory://me:pl4nted@bucket/x"])
    assert json.loads(done.stdout)["store"] == "memory://***@bucket/x"
    assert "pl4nted" not in done.output
