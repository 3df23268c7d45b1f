"""From per-item scores to contrasts."""
