"""Training networks: recipes, the loop, its state on disk."""
