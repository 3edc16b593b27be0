"""Settings from bridge.toml and the environment."""
