"""The specification of AMQP 0-9-1 with RabbitMQ's extensions. txAMQP's wheel has none, and its own
lack ``confirm``, ``basic.nack``, ``basic.cancel`` from the server and ``connection.blocked``."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from txamqp import spec

#: A `txamqp.spec.Spec`; ``SPEC.classes.byid[60].methods.byid[60]`` is basic.deliver.
SPEC: Any = spec.load_string(files("chatd.amqp").joinpath("amqp0-9-1.xml").read_bytes())
