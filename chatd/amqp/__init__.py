"""txAMQP, completed for AMQP 0-9-1 as RabbitMQ speaks it: a library that knows nothing of chat.

``spec`` (the protocol's methods) and ``codec`` (its values) replace txAMQP's own. ``client`` is the
connection; ``deliveries`` and ``confirms`` are its two hot paths. ``url`` and ``service`` find a
broker and stay connected to it.
"""
