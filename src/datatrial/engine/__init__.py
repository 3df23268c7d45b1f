"""Steps with content-addressed results: what they are, where they are kept, how they are run."""
