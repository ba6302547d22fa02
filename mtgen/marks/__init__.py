"""Marks that say an output is machine-made, and how they are found again."""
