"""`bridge setup`: registers and installs the GitHub App, asks for the RunPod key, and writes the configuration."""
