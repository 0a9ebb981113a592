"""`hornbeam train`: the training loop and the parts that it is given."""
