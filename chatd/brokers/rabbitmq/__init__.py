"""RabbitMQ streams as a broker."""
