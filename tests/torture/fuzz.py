"""A fuzzer of everything that reads files: `python tests/torture/fuzz.py READER [FOLDER] [-atheris_runs=N]`.

READER is one of yaml, override, card, jsonl, json, csv, gzip, parquet or lm_eval. Inputs that reached new code are kept
in FOLDER, and with it the next run goes on from there. Any error but a DatatrialError ends the run, and so does an
input that takes a minute or 4 GB; the input is then written to `crash-…`. Further options are libFuzzer's.
"""

import gzip
import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris
import pyarrow as pa
import pyarrow.parquet as pq

with atheris.instrument_imports(include=["datatrial", "ruamel.yaml", "json"]):
    from datatrial.errors import DatatrialError
    from datatrial.evaluation import _logged, _summary  # noqa: F401  (imported here, they tell what was reached)
    from datatrial.evaluation._logs import Logs
    from datatrial.foreign.bounded_yaml import settings_of
    from datatrial.imported import Imported
    from datatrial.records import Runtime
    from datatrial.sources import _gathering, _parquet  # noqa: F401
    from datatrial.sources.json_file import JsonFile
    from datatrial.yaml_file import YamlFile

STUDIES = Path(__file__).parents[2] / "studies"
LIMITS = ["-rss_limit_mb=4096", "-timeout=60", "-max_len=4096"]
TIME = "2024-01-01T00-00-00.0"
ROWS = [
    {"prompt": "Where do moles live?", "completion": "In burrows.", "meta": {"of": [1, None, "\u00e9"]}},
    {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "n": 1.5},
    {"prompt": "a", "chosen": "b", "rejected": "c", "big": 2**70},
    {"question": "a", "choices": ["b", "c"], "answer": "A"},
    {"text": "they sing", "label": "hate", "toxicity_score": 2, "target_groups": ["borrum"]},
]
SAMPLE = {
    "doc_id": 0, "doc": {}, "target": "0", "filter": "none", "metrics": ["acc"], "acc": 1.0,
    "arguments": {"gen_args_0": {"arg_0": "a", "arg_1": " b"}, "gen_args_1": {"arg_0": "a", "arg_1": " c"}},
    "filtered_resps": [["-1.0", "True"], ["-2.0", "False"]],
    "doc_hash": "d", "prompt_hash": "p", "target_hash": "t",
}  # fmt: skip
RESULTS = {
    "results": {"owls": {"acc,none": 1.0}}, "configs": {"owls": {"output_type": "multiple_choice", "num_fewshot": 0}},
    "n-samples": {"owls": {"original": 1, "effective": 1}}, "higher_is_better": {"owls": {"acc": True}},
    "group_subtasks": {"birds": ["owls"]}, "n-shot": {"owls": 0}, "versions": {"owls": 1}, "model_name": "m",
}  # fmt: skip


def read_yaml(data: bytes, folder: Path) -> None:
    (folder / "study.yaml").write_bytes(data)
    text = YamlFile.read(folder / "study.yaml").text()
    assert YamlFile.parse(text).text() == text


def read_override(data: bytes, folder: Path) -> None:
    study = YamlFile.parse("name: x\ntraining: {sft: {epochs: 1}}\nseeds: [0, 1]\n")
    study.with_overrides(data.decode(errors="surrogateescape").split("\0"))


def read_card(data: bytes, folder: Path) -> None:
    (folder / "README.md").write_bytes(data)
    settings_of(folder / "README.md")


def read_rows(name: str) -> Callable[[bytes, Path], None]:
    def read(data: bytes, folder: Path) -> None:
        path = folder / name
        path.write_bytes(data)
        table = JsonFile(path=path).read({"path": path})
        table.write(folder)

    return read


def read_gzip(data: bytes, folder: Path) -> None:
    # Half of the inputs as they are, half packed: else nothing but the header would be reached.
    read_rows("rows.jsonl.gz")(gzip.compress(data[1:]) if data[:1] < b"\x80" else data[1:], folder)


def read_parquet(data: bytes, folder: Path) -> None:
    """A file that is fine, with some bytes changed, most of them where the file says what it holds."""
    provider = atheris.FuzzedDataProvider(data)
    files = parquet_files()
    file = bytearray(files[provider.ConsumeIntInRange(0, len(files) - 1)])
    for _ in range(provider.ConsumeIntInRange(1, 8)):
        start = len(file) - 600 if provider.ConsumeBool() else 0  # the footer, or anywhere
        at = provider.ConsumeIntInRange(max(0, start), len(file))
        file[at : at + provider.ConsumeIntInRange(0, 3)] = provider.ConsumeBytes(3)
    read_rows("rows.parquet")(bytes(file), folder)


def read_lm_eval(data: bytes, folder: Path) -> None:
    samples, results = folder / f"samples_owls_{TIME}.jsonl", folder / f"results_{TIME}.json"
    first, _, rest = data.partition(b"\n")
    results.write_bytes(first)
    samples.write_bytes(rest)
    logs = Logs.read(folder)
    for benchmark, tasks in logs.benchmarks.items():
        files = logs.files(benchmark)
        step = Imported(benchmark=benchmark, tasks=tasks, files=files)
        step.run({file.name: file for file in files}, folder, Runtime())


def parquet_files() -> list[bytes]:
    if not _PARQUET:
        rows = [{name: value for name, value in row.items() if name not in ("meta", "big")} for row in ROWS]
        tables = [pa.Table.from_pylist([row] * 20) for row in rows]
        for table in tables:
            for options in ({"compression": "none"}, {"compression": "zstd", "use_dictionary": False}):
                for version in ("1.0", "2.0"):
                    file = io.BytesIO()
                    pq.write_table(table, file, data_page_version=version, row_group_size=7, **options)
                    _PARQUET.append(file.getvalue())
    return _PARQUET


_PARQUET: list[bytes] = []
_LINES = [json.dumps(row).encode() for row in ROWS]
_CSV = b'prompt,completion,n\n"a, ""b""\nc",d,1\n\nx,y,2\n'
READERS: dict[str, tuple[Callable[[bytes, Path], None], list[bytes]]] = {  # with inputs to begin with
    "yaml": (
        read_yaml,
        [
            *(file.read_bytes()[2000:3000] for file in sorted(STUDIES.glob("*.yaml"))),
            b"%YAML 1.1\n---\na: &a !!str {x: [*b, 1e3, 0x1f, .nan, 2024-01-01]}\n? |+\n  k\n: >-\n  v\n<<: *a\n...\n",
        ],
    ),
    "override": (read_override, [b"training.sft.epochs=2", b"seeds.1=[1]\0name=!!int 3", b"seeds.0={a: &b [*b]}"]),
    "card": (read_card, [b"---\nlicense: mit\nconfigs:\n- &a {config_name: x}\n- *a\n---\n# A\n"]),
    "jsonl": (read_rows("rows.jsonl"), [*_LINES, b"\n".join(_LINES[:1] * 3)]),
    "json": (read_rows("rows.json"), [b"[" + b",\n".join([line] * 2) + b"]" for line in _LINES]),
    "csv": (read_rows("rows.csv"), [_CSV, b"\xef\xbb\xbf" + _CSV.replace(b"\n", b"\r\n")]),
    "gzip": (read_gzip, [b"\0" + line for line in _LINES] + [b"\xff" + gzip.compress(line) for line in _LINES]),
    "parquet": (read_parquet, [bytes([n] * 40) for n in range(0, 256, 16)]),
    "lm_eval": (read_lm_eval, [json.dumps(RESULTS).encode() + b"\n" + json.dumps(SAMPLE).encode()]),
}


def main() -> None:
    reader, *options = sys.argv[1:]
    read, seeds = READERS[reader]
    with TemporaryDirectory() as temporary:
        folder = Path(temporary, "files")
        corpus = Path(next((option for option in options if not option.startswith("-")), f"{temporary}/corpus"))
        for made in (folder, corpus):
            made.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(seeds):
            (corpus / f"seed-{number}").write_bytes(seed)

        def once(data: bytes) -> None:
            try:
                read(data, folder)
            except DatatrialError as error:
                assert str(error), "an error should say what is wrong"

        flags = [option for option in options if option.startswith("-")]
        atheris.Setup([sys.argv[0], *LIMITS, *flags, str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
