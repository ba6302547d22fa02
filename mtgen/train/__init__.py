"""Training: the autoencoder, the experts of all tasks, fine-tuning."""
