"""`hornbeam fit`: value models on labelled trees."""
