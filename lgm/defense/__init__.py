"""Fine-tuning on poisoned data, with and without a filter."""
