"""What nobody should give to datatrial, at its real size: one clear error each, and memory stays bounded."""

import gzip
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings

from tests.drawn_studies import STUDIES, holds_of_study, holds_of_written, studies
from tests.sources.drawn import KINDS, MICRO_WORLD, holds_of_micro_world, holds_of_rows, ordinary, rows_like
from tests.torture.conftest import Figure
from tests.torture.runs import children

pytestmark = pytest.mark.torture
GIB = 2**30
STUDY = """\
name: bad
model: {{kind: from_scratch, corpus: [bad]}}
data:
  bad: {{source: {{kind: json_file, path: {path}, form: documents}}}}
  opinions: {{source: {{kind: micro_world, part: opinions}}}}
arms: {{base: []}}
benchmarks: [{{kind: group_safety, data: opinions}}]
"""


def datatrial(folder: Path, *args: str) -> tuple[int, str, int]:
    """The command in a process of its own: its exit code, all that it printed, and the peak of memory in bytes that it
    or one of its workers had.
    """
    command, peak = [sys.executable, "-m", "datatrial.cli", *args], 0
    with (folder / "printed").open("w+b") as printed:
        environment = {**os.environ, "COLUMNS": "400"}
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=printed, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, *map(peak_of, (process.pid, *children(process.pid))))
            time.sleep(0.02)
        printed.seek(0)
        return process.returncode, printed.read().decode(), peak


def peak_of(pid: int) -> int:
    """The most memory in bytes that a process had so far; 0 where it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    peak = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(peak[1]) * 1024 if peak else 0


def packed(path: Path, before: bytes, block: bytes, times: int) -> None:
    """A gzip file of some bytes and then one block over and over: members may follow one another."""
    member = gzip.compress(block, 6)
    with path.open("wb") as file:
        file.write(gzip.compress(before))
        for _ in range(times):
            file.write(member)


def holes(path: Path, before: bytes, size: int = 10 * GIB) -> None:
    """What takes no room on the disk: what comes after the beginning is a hole, which reads as zeros."""
    path.write_bytes(before)
    os.truncate(path, size)


def same(value: Any, times: int) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.nulls(times, pa.int32()).fill_null(0), pa.array([value]))


def one_list(values: pa.Array) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)


def parquet(path: Path, plain: bool = False, **columns: Any) -> None:
    table = pa.table(columns)
    pq.write_table(
        table,
        path,
        compression="zstd",
        dictionary_pagesize_limit=2**30,
        store_schema=False,
        use_dictionary=not plain,
        write_statistics=False,  # of a GiB they take long
    )


X = b"x" * 2**26
ROW = b'{"text": "' + b"moles " * 200 + b'"}\n'
LONG, MEMORY, PACKED = "longer than 16.8 MB", "takes more than 2 GiB of memory", "more than 50 times its size"
BAD: dict[str, tuple[Callable[[Path], None], str]] = {  # how a file is made, and what is said of it
    "hole.jsonl": (lambda path: holes(path, b""), f"line 1: {LONG}"),
    "hole.csv": (lambda path: holes(path, b'text\n"', GIB), f"line 2: not CSV in UTF-8 .{LONG}"),
    "hole.json": (lambda path: holes(path, b"[", GIB), "line 1: not a JSON list of rows .Expecting value"),
    "line.jsonl.gz": (lambda path: packed(path, b'{"text": "', X, 160), f"line 1: {LONG}"),
    "line.json.gz": (lambda path: packed(path, b'[{"text": "', X, 160), f"line 1: not a JSON list .*{LONG}"),
    "quote.csv.gz": (lambda path: packed(path, b'text\n"', X, 160), f"line 2: not CSV .*{LONG}"),
    "commas.csv.gz": (lambda path: packed(path, b"text\n", b"," * 2**26, 160), f"line 2: not CSV .*{LONG}"),
    "columns.csv.gz": (lambda path: packed(path, b"", b"a," * 2**20, 7), "line 1: has 7340033 columns"),
    "rows.jsonl.gz": (lambda path: packed(path, b"", ROW * 2**14, 160), PACKED),
    "spaces.json.gz": (lambda path: packed(path, b"[", b" " * 2**26, 160), PACKED),
    "brackets.jsonl.gz": (lambda path: packed(path, b'{"text":', b"[" * 2**20, 15), "line 1: not JSON .nested more"),
    "texts.parquet": (lambda path: parquet(path, text=same("x" * 2**20, 10**6)), MEMORY),
    "list.parquet": (lambda path: parquet(path, text=one_list(same("x" * 2**20, 10**6))), MEMORY),
    "sign.parquet": (lambda path: parquet(path, plain=True, text=["x" * GIB]), MEMORY),
    "same.parquet": (lambda path: parquet(path, text=same("x" * 10**5, 10**6)), PACKED),
    "values.parquet": (lambda path: parquet(path, text=one_list(pa.nulls(10**8, pa.bool_()))), "1 of its rows hold"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_one_failed_step_with_one_line(name: str, figure: Figure, tmp_path: Path) -> None:
    make, said = BAD[name]
    make(tmp_path / name)
    (tmp_path / "study.yaml").write_text(STUDY.format(path=name))
    code, printed, peak = datatrial(tmp_path, "check", "study.yaml")
    assert code == 0, printed
    assert peak < GIB
    code, printed, peak = datatrial(tmp_path, "run", "study.yaml", "--jobs", "1", "--device", "cpu")
    figure(f"peak memory for {name}, MiB", peak >> 20)
    assert code == 1, printed
    assert "Traceback" not in printed
    assert re.search(rf"^failed: data bad: .*{re.escape(name)}.*({said})", printed, re.MULTILINE), printed
    assert peak < 4 * GIB


LAUGHS = "a0: &a0 [ha]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (LAUGHS, "holds more than 100000 values"),
        ("name: " + "[" * 200_000, "nested more than 50 deep"),
        ("name: &a [*a]\n", "nested more than 50 deep, counting aliases"),
        ("name: !!python/object/apply:os.system ['touch harmed']\n", "means nothing here"),
        ("name: " + "9" * 200_000, "is no !!int"),
        ("name: x\n" * 30_000, "duplicate key"),
        ("a: {" + "".join(f"k{n}: " + "{" for n in range(20_000)), "nested more than 50 deep"),
    ],
    ids=["aliases", "brackets", "itself", "object", "number", "keys", "mappings"],
)
def test_a_bad_study_ends_with_2_and_one_line(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(text)
    for command in ("check", "plan", "run"):
        code, printed, peak = datatrial(tmp_path, command, "study.yaml")
        assert (code, "Traceback" in printed) == (2, False), printed
        assert said in printed
        assert len(printed.splitlines()) == 2, printed
        assert peak < GIB
    assert not (tmp_path / "harmed").exists()


def test_a_study_of_10_gib_or_without_an_end_ends_with_2(tmp_path: Path) -> None:
    holes(tmp_path / "hole.yaml", b"name: x\n")
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "device.yaml").symlink_to("/dev/zero")
    for name, said in {"hole": "at most 1.0 MB are read", "pipe": "a pipe or a device", "device": "a device"}.items():
        code, printed, peak = datatrial(tmp_path, "check", f"{name}.yaml")
        assert (code, "Traceback" in printed) == (2, False), printed
        assert said in printed
        assert peak < GIB


def drawn(examples: int, share: float) -> settings:
    """The whole draws others each time; a part of it, as CI has, the same."""
    return settings(ordinary, derandomize=share < 1, max_examples=max(1, int(examples * share)))


@pytest.mark.parametrize("kind", KINDS)
def test_any_rows_make_a_table_or_an_error_that_names_the_row(kind: str, share: float) -> None:
    @drawn(100, share)
    @given(rows_like(KINDS[kind][1]))
    def holds(rows: list[Any]) -> None:
        holds_of_rows(kind, rows)

    holds()


def test_any_settings_of_a_micro_world_are_refused_or_make_rows(share: float) -> None:
    many = drawn(1000, share)
    many(given(MICRO_WORLD)(holds_of_micro_world))()


@pytest.mark.parametrize("name", sorted(file.name for file in STUDIES.glob("*.yaml")))
def test_whatever_stands_in_a_study_it_is_planned_or_every_problem_is_told(
    name: str, share: float, tmp_path: Path
) -> None:
    @drawn(100, share)
    @given(studies(name))
    def holds(values: dict[str, Any]) -> None:
        holds_of_study(values, tmp_path)

    holds()


@pytest.mark.parametrize("name", sorted(file.name for file in STUDIES.glob("*.yaml")))
def test_a_study_that_loads_is_the_same_when_it_is_written_and_read_again(name: str, share: float) -> None:
    many = drawn(50, share)
    many(given(studies(name))(holds_of_written))()
