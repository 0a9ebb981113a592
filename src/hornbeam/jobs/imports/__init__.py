"""`hornbeam import`: runs of other libraries as ids and SFT sets."""
