"""RunPod: requests to endpoints."""
