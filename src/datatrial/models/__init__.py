"""Base models: where they come from, and how their modules are built over shared weights."""
