"""The commands of `python -m bridge`, and the composition of the parts."""
