"""Listening on endpoints, TLS certificates, TCP options."""
