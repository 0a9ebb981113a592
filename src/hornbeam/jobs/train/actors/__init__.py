"""Trees grown by actors on other machines."""
