"""Small models by name, and a tiny one made from nothing."""
