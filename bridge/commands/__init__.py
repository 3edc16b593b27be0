"""The commands of `bridge`, one module for each, and the composition root that builds a bridge from its parts."""
