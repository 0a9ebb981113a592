"""From a recipe to the parts that run: policies, engines, guides, tools, run folder, progress."""
