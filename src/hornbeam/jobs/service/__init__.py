"""Search as a service: a conversation is answered with the outcome of a search."""
