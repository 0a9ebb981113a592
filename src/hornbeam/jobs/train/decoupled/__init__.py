"""Trainers of one policy each, beside others, over one store."""
