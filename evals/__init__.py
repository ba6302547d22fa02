"""Benchmarks for mtgen: samples -> records -> scores -> report. Run `python -m evals list`."""
