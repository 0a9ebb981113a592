"""`hornbeam chunks`: SFT sets of answers cut into chunks (StepWiser)."""
