"""`hornbeam gateway`: the endpoint as a server that lives until it is stopped."""
