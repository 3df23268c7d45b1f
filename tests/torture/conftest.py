import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--share", type=float, default=1.0, help="how much of each torture to do: 0.01 in passing, 1 all")


@pytest.fixture
def share(request: pytest.FixtureRequest) -> float:
    """How much of each torture to do."""
    found: float = request.config.getoption("--share", default=1.0)
    return found
