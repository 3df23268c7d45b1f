"""What others made (files, folders and names), read so that it can do no harm: bounded, plain, and told in one line."""
