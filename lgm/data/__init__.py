"""Datasets: images as bytes with their labels, in named splits."""
