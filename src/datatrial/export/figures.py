"""The report's charts, each as a file of its own."""

from pathlib import Path

from datatrial.export._finished import Finished


def write(finished: Finished, out: Path) -> None:
    """Each chart as `figures/name.png`, `.svg` and `.pdf`, in the colours of light pages."""
    from datatrial.report.all_figures import all_figures
    from datatrial.report.figures import save

    folder = out / "figures"
    folder.mkdir()
    for name, figure in all_figures(finished.findings).items():
        save(figure, folder, name)
