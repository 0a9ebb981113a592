"""The local engine: samples in this process, with a prefix cache."""
