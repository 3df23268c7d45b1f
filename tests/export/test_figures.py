"""Charts as files of their own."""

from pathlib import Path

import pytest

from datatrial.report._findings import Findings
from datatrial.report.all_figures import all_figures
from datatrial.report.figures import COLOURS, save
from tests.report.fiction import Fiction


@pytest.fixture(scope="module")
def fiction_(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    from tests.report.fiction import make_fiction

    fiction: Fiction = make_fiction(tmp_path_factory.mktemp("fiction"))
    return Findings.read(fiction.report(), fiction.inputs)


def test_every_chart_of_the_report_has_a_name_of_its_own(fiction_: Findings) -> None:
    names = list(all_figures(fiction_))
    assert {
        "differences-capability",
        "mentions-safety-careful",
        "training-sft-careful_notes-loss",
        "training-dpo-upvotes-margin",
    } <= set(names)
    assert len({name.casefold() for name in names}) == len(names)
    assert all(Path(name).name == name for name in names)


def test_stages_of_one_name_have_charts_of_two(fiction_: Findings) -> None:
    from dataclasses import replace

    twice = replace(fiction_, trainings=[fiction_.trainings[0], fiction_.trainings[0]])
    names = [name for name in all_figures(twice) if name.startswith("training-")]
    assert names == ["training-sft-careless_notes-loss", "training-sft-careless_notes-loss-2"]


def test_a_saved_chart_has_the_colours_of_light_pages_and_200_dpi(fiction_: Findings, tmp_path: Path) -> None:
    from matplotlib.image import imread

    for name in ("mentions-safety-careful", "training-sft-careful_notes-loss"):
        png, svg, pdf = save(all_figures(fiction_)[name], tmp_path, name)
        text = svg.read_text(encoding="utf-8")
        assert not any(colour in text for colour in COLOURS)
        assert "#2b5b84" in text  # the page's --accent
        assert pdf.read_bytes().startswith(b"%PDF")
        pixels = (imread(png)[..., :3] * 255).round().astype(int)
        assert pixels.shape[1] == 840  # 4.2 inches
        assert tuple(pixels[0, 0]) == (255, 255, 255)
        assert (pixels.reshape(-1, 3) == (0x2B, 0x5B, 0x84)).all(axis=1).any()


def test_the_same_chart_is_the_same_bytes(fiction_: Findings, tmp_path: Path) -> None:
    name, saved = "training-sft-careful_notes-loss", []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        saved.append([p.read_bytes() for p in save(all_figures(fiction_)[name], tmp_path / folder, name)])
    assert saved[0] == saved[1]
