"""What lies below the transports: endpoints, listening and accepting, TLS certificates and
handshakes, TCP options, sending to many sockets at once, and what the system is told and asked."""
