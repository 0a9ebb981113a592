"""Growing trees: a strategy says where, programs act, a scorer scores."""
