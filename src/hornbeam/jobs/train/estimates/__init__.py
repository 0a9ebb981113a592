"""What a run will take: memory, tokens, time."""
