"""Hornbeam grows trees of LLM-agent runs, credits their steps, trains and searches with them."""
