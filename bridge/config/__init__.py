"""The configuration: bridge.toml and environment variables, validated and combined into one `Config`."""
