"""One run of a program, live or replayed from its record."""
