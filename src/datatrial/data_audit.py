"""Every audit of a study on one data set."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import ClassVar

from datatrial.audits._base import Audit
from datatrial.component import Component, numbered, of_number
from datatrial.records import Needs, PartOfStudy, Runtime


class DataAudit(Component):
    """Reads the input `data` (a data set) and writes `audit.json`: what each kind of audit found, by kind."""

    version: ClassVar[int] = 2

    audits: tuple[Audit, ...]

    def needs(self) -> Mapping[str, Needs]:
        return numbered([audit.needs() for audit in self.audits])

    def reads(self) -> Mapping[str, PartOfStudy]:
        return numbered([audit.reads() for audit in self.audits])

    def run(self, inputs: Mapping[str, Path], out: Path, runtime: Runtime) -> None:
        from datatrial.tables import Table

        table = Table.read(inputs["data"])
        found = {}
        for number, audit in enumerate(self.audits):
            runtime.progress(number, len(self.audits), "audits")
            if table.card.form in (audit.forms or (table.card.form,)):
                findings = audit.look(table, of_number(inputs, number), runtime)
                found[audit.kind] = {"title": audit.title, **asdict(findings)}
        (out / "audit.json").write_text(json.dumps(found, indent=1, ensure_ascii=False), encoding="utf-8")
