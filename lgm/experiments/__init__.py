"""What takes minutes to measure, as records: sweeps, comparisons, the paper's claims, the study."""
