"""Training data from public packages: collected, cleaned, documented, packed."""
