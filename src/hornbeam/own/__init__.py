"""Parts of one's own: out of files that a recipe names, and out of installed packages."""
