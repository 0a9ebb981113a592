"""Files and folders: where a name lies, and writing one whole or not at all."""
