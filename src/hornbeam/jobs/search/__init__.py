"""`hornbeam search`: held-out tasks by several methods, accuracy against cost."""
