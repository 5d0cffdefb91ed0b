"""Numbers about numbers: intervals, bootstrap, separability. No network, no dataset."""
