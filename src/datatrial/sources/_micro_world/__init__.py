"""The fictional world behind `kind: micro_world`: its words, its facts, its writers and what they write."""
