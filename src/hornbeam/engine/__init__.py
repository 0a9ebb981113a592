"""Engines: token ids in, sampled ids with their log-probs out."""
