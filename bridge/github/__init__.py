"""GitHub: authentication, REST API, webhooks and the App's delivery log."""
