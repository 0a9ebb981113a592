"""Answers: the numbers and expressions in a text, read exactly, never by `eval`."""
