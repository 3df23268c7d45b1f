"""`datatrial init`."""

from pathlib import Path
from typing import Annotated

import typer

from datatrial.cli._app import app, fail, out


@app.command()
def init(name: Annotated[str, typer.Argument(help="The study's name; the file is NAME.yaml.")] = "my-study") -> None:
    """Write a commented example study to start from."""
    from importlib.resources import files

    from datatrial.foreign.names import problem_with_name

    path = Path(f"{name}.yaml")
    if problem := problem_with_name(path.stem):
        fail(f"{path.stem!r} is no name for a study: it {problem}")
    text = (files("datatrial") / "example.yaml").read_text(encoding="utf-8").replace("NAME", path.stem)
    try:
        with path.open("x", encoding="utf-8") as file:  # never through a link
            file.write(text)
    except FileExistsError:
        fail(f"{path} exists already; name another study")
    except FileNotFoundError:
        fail(f"there is no folder {path.parent}")
    out.print(f"wrote {path}; next: datatrial check {path}", highlight=False)
