"""The board: every attacker against every defence."""
