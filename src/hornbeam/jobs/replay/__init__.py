"""`hornbeam replay`: whether a program, or an agent outside, reproduces its own path."""
