"""Engines behind HTTP or another process: clients, probes, replies."""
