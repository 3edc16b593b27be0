"""RunPod: sends and reads requests to serverless endpoints."""
