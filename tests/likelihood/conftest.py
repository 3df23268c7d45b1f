"""Tasks of a fictional world, as other tests have them."""

from tests.evaluation.conftest import world

__all__ = ["world"]
