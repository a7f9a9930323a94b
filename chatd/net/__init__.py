"""Listening: endpoint strings, certificates, TCP."""
