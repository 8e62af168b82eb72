"""`PRMConfig` and `PRMTrainer`, with its collator."""
