"""Values and decisions: pure, no clock, no I/O."""
