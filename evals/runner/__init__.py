"""Runs a suite: one record on disk the moment its sample is done, resumable at any time."""
