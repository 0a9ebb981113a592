"""`hornbeam select`: data selection by steps."""
