"""Makes ``twistd chatd`` known to twistd."""

from twisted.application.service import ServiceMaker

chatd = ServiceMaker(
    "chatd",
    "chatd.tap",
    "Chat rooms over WebSocket, long-poll, server-sent events, raw TCP and AMQP.",
    "chatd",
)
