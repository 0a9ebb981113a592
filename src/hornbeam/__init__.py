"""Hornbeam grows trees of LLM-agent runs, credits their steps, and trains and searches with them."""
