"""Logs stay short whatever is printed."""

from pathlib import Path

import pytest

from datatrial.engine import log as module
from datatrial.engine.local import LocalExecutor
from datatrial.engine.log import FIRST, LAST, MOST, kept_short, shorten
from datatrial.engine.schedule import run
from datatrial.engine.step import Step
from datatrial.engine.store import Store
from datatrial.engine.worker import build
from tests.engine.tasks import Flood, Write


def lines(first: int, last: int) -> bytes:
    return b"".join(b"line %07d %s\n" % (number, b"." * 86) for number in range(first, last))  # of 100 bytes


def left_out(text: bytes) -> int:
    [line] = [line for line in text.splitlines() if b"left out" in line]
    return int(line.split()[1])


def test_a_log_loses_its_middle_and_says_how_much(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(whole := lines(0, 150_000))
    shorten(log)
    text = log.read_bytes()
    before, _, after = text.partition(b"\n... ")
    assert whole.startswith(before)
    assert whole.endswith(after.partition(b"\n")[2])
    assert FIRST + LAST - 100 < len(text) < FIRST + LAST + 100
    # All of it but the two line breaks that became the note's.
    assert len(before) + len(after.partition(b"\n")[2]) + left_out(text) == len(whole)


def test_a_log_that_grows_again_has_one_note_of_all_that_was_left_out(tmp_path):
    log = tmp_path / "log"
    for part in range(5):
        with log.open("ab") as file:
            file.write(lines(100_000 * part, 100_000 * (part + 1)))
        shorten(log)
    text = log.read_bytes()
    kept = len(text) - len(next(line for line in text.splitlines() if b"left out" in line)) - 2
    assert kept + left_out(text) == 500_000 * 100
    assert text.startswith(lines(0, 1000))
    assert text.endswith(lines(499_000, 500_000))


@pytest.mark.parametrize("text", [b"", b"short\n" * 1000, b"x" * MOST])
def test_a_short_log_is_left_as_it_is(tmp_path, text):
    log = tmp_path / "log"
    log.write_bytes(text)
    shorten(log)
    assert log.read_bytes() == text


def test_a_log_without_line_breaks_is_shortened_too(tmp_path):
    log = tmp_path / "log"
    log.write_bytes(b"x" * MOST + b"y" * MOST)
    shorten(log)
    text = log.read_bytes()
    assert len(text) < FIRST + LAST + 100
    assert text.startswith(b"x" * FIRST)
    assert text.endswith(b"y" * LAST)


def test_a_log_that_is_gone_is_no_error(tmp_path):
    shorten(tmp_path / "log")


def test_what_is_appended_all_the_while_stays_in_order(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    log = tmp_path / "log"
    with kept_short(log), log.open("ab", buffering=0) as file:
        for part in range(100):
            file.write(lines(2000 * part, 2000 * (part + 1)))
    *_, last = log.read_bytes().partition(b"left out")
    numbers = [int(line.split()[1]) for line in last.splitlines()[1:] if len(line) == 99]  # one may have been torn
    assert numbers == sorted(numbers)
    assert numbers[-1] == 199_999
    assert log.stat().st_size <= MOST


def test_what_is_appended_while_a_log_is_shortened_stays(tmp_path, monkeypatch):
    log, size, words = tmp_path / "log", module._size, iter(range(20))
    log.write_bytes(b"x" * 2 * MOST)

    def said_meanwhile(file):
        if (word := next(words, None)) is not None:
            with log.open("ab") as other:
                other.write(b"\nword %d" % word)
        return size(file)

    monkeypatch.setattr(module, "_size", said_meanwhile)
    shorten(log)
    assert log.read_bytes().endswith(b"".join(b"\nword %d" % word for word in range(20)))


def test_a_log_that_cannot_be_written_fails_the_step_and_leaves_no_file_open(tmp_path):
    store, step = Store(tmp_path / "store"), Step(Write("x"))
    store.open()
    store.log(step).mkdir()
    before = len(list(Path("/dev/fd").iterdir()))
    assert build(store, store.work(step), "cpu", print).change == "failed"
    assert len(list(Path("/dev/fd").iterdir())) == before


def test_a_step_that_prints_without_end_has_a_short_log_with_its_first_and_last_words(tmp_path):
    store = Store(tmp_path / "store")
    store.open()
    step = Step(Flood(1.5, killed=True))
    with LocalExecutor(store, jobs=1, device="cpu") as executor:
        outcome = run([step], store, executor, lambda event, step: None)
    text = store.read_log(step)
    assert len(text) <= MOST
    assert "left out here" in text
    assert text.startswith("the first words")
    assert text.rstrip().endswith("the last words")
    assert "the last words" in outcome.failed[step.digest]
