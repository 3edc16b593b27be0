"""`bridge endpoints`: creates, compares and deletes the RunPod endpoints that bridge.toml describes."""
