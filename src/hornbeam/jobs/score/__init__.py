"""`hornbeam score`: columns on trees from anywhere."""
