"""Tables and pages, each a pure function of a run's records."""
