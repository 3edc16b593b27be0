"""GPU and CPU runners for GitHub Actions on RunPod serverless, on demand."""

__version__ = "0.1.0"
