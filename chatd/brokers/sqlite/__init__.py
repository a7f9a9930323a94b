"""One SQLite file as a broker: the default."""
