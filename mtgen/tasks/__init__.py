"""One file per task: its prompt format, its limits, its decoding."""
