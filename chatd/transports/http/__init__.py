"""HTTP: long-poll, event streams, administration, pages."""
