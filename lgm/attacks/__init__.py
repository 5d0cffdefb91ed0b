"""Crafting clean-label poisons: eq. (1), its solvers, and the record of what they made."""
