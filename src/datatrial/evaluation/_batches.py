"""How many prompts are answered at a time; by the kind of device, so that a run can be repeated."""

BATCH_SIZE = {"cpu": 16, "cuda": 32, "mps": 8}


def batch_size(device: str) -> int:
    """Prompts in a forward pass of generation, where memory suffices. Log-likelihoods go by a `Budget` instead."""
    return BATCH_SIZE.get(device, 8)
