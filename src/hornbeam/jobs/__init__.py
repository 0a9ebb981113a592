"""What the commands run: one folder a command."""
