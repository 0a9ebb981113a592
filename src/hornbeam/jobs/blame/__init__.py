"""`hornbeam blame`: the step that lost a run, found by forks from its steps."""
