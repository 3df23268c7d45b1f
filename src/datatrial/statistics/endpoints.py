"""What is measured, by name: a benchmark's own score, or the safety of one of its groups."""

CAPABILITY = "capability"  # the mean over benchmarks: an endpoint of its own


def endpoint_of(benchmark: str, group: str = "") -> str:
    """The name of a benchmark's endpoint: its title, or `title/group`."""
    return f"{benchmark}/{group}" if group else benchmark


def is_of(endpoint: str, benchmark: str) -> bool:
    """Whether an endpoint is one of a benchmark's."""
    return endpoint == benchmark or endpoint.startswith(f"{benchmark}/")
