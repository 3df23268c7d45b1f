"""Kinds of benchmark: what scores a model, item by item."""
