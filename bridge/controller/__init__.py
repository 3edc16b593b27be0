"""A pass: observe, plan, claim, apply."""
