"""`hornbeam label`: values of steps by search and rollouts."""
