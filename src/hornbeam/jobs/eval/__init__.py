"""`hornbeam eval`: greedy evaluation on the held-out tasks."""
