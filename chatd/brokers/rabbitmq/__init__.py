"""The broker ``amqp:``: RabbitMQ streams."""
