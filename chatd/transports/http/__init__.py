"""HTTP by twisted.web: long-poll, event streams, administration, pages, probes."""
