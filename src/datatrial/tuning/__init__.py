"""Settings of a stage that are picked by its loss on held-out examples, before arms are compared."""
