"""Recipes: TOML to frozen settings, section by section."""
