"""Where tool calls run."""
