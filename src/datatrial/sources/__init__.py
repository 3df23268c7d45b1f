"""Data sets and where they come from: one file a source."""
