"""Training stages, each over a TRL trainer."""
