"""GitHub: who we are to it, and what we ask of it."""
