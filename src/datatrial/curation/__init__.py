"""Curation ops: rows in, rows out, what was dropped counted."""
