"""From scores to decisions: thresholds, rates, and filters to compare."""
