"""Instruments that score pictures, trained by us on real ones; they never see a generator's output.

The judge embeds pictures and captions in one space; the detector lists the things in a scene with
their colours. `python -m evals.judge train | check | reference` makes and tests them.
"""
