"""The Python door: jobs of recipes called from scripts and notebooks, on Python objects."""
