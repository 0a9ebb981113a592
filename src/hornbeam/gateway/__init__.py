"""Sessions of agents that are somebody else's process: their requests are asks of one episode."""
