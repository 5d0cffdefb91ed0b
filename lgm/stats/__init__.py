"""Numbers about numbers: intervals, bootstrap, separability, structural similarity. No network, no dataset."""
