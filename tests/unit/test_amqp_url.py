"""The broker's address: what it means, and one clear line for what it cannot mean."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from chatd.amqp.url import BadURL, BrokerURL, Host


class BrokerURLTests(SynchronousTestCase):
    def test_good(self) -> None:
        local = (Host("localhost", 5672),)
        for text, expected in (
            ("amqp://localhost", BrokerURL(local)),
            ("amqp://localhost/", BrokerURL(local)),
            ("amqp://localhost/%2F", BrokerURL(local)),
            ("amqp://localhost/chat", BrokerURL(local, vhost="chat")),
            ("amqp://localhost/a%2fb%C3%BC", BrokerURL(local, vhost="a/bü")),
            ("amqp://ann:s3cret@localhost", BrokerURL(local, "ann", "s3cret")),
            ("amqp://ann:@localhost", BrokerURL(local, "ann", "")),
            ("amqp://a%40b:p%3A%2f%25%C3%BC@localhost", BrokerURL(local, "a@b", "p:/%ü")),
            ("amqp://localhost?heartbeat=7", BrokerURL(local, heartbeat=7)),
            ("amqp://localhost/?heartbeat=0", BrokerURL(local, heartbeat=0)),
            (
                "amqp://a.example:1,b.example,10.0.0.1:65535,[::1],[fe80::1]:7/x",
                BrokerURL(
                    (
                        Host("a.example", 1),
                        Host("b.example", 5672),
                        Host("10.0.0.1", 65535),
                        Host("::1", 5672),
                        Host("fe80::1", 7),
                    ),
                    vhost="x",
                ),
            ),
            ("amqps://rabbit", BrokerURL((Host("rabbit", 5671),), tls=True)),
            (
                "amqps://rabbit/?cacertfile=/a%20b/ca.pem&certfile=c.pem&keyfile=k.pem",
                BrokerURL(
                    (Host("rabbit", 5671),),
                    tls=True,
                    cacertfile="/a b/ca.pem",
                    certfile="c.pem",
                    keyfile="k.pem",
                ),
            ),
        ):
            with self.subTest(text=text):
                self.assertEqual(BrokerURL.parse(text), expected)

    def test_bad(self) -> None:
        for text, part in (
            ("", "amqp://user:password@host:port/vhost"),
            ("localhost", "amqp://"),
            ("http://localhost", "amqp://"),
            ("amqp:localhost", "amqp://"),
            ("amqp://", "name:port"),
            ("amqp:///vhost", "name:port"),
            ("amqp://a,,b", "name:port"),
            ("amqp://localhost:", "name:port"),
            ("amqp://localhost:amqp", "name:port"),
            ("amqp://::1", "name:port"),
            ("amqp://[::1", "name:port"),
            ("amqp://localhost:0", "1 to 65535"),
            ("amqp://localhost:70000", "1 to 65535"),
            ("amqp://ann@localhost", "user:password@"),
            ("amqp://:secret@localhost", "user:password@"),
            ("amqp://ann:sec:ret@localhost", "%3A"),
            ("amqp://ann:sec@ret@localhost", "%40"),
            ("amqp://ann:sec%ret@localhost", "%25"),
            ("amqp://ann:sec%ff@localhost", "UTF-8"),
            ("amqp://ann:sec\udcff@localhost", "UTF-8"),
            ("amqp://localhost/%zz", "%25"),
            ("amqp://localhost/a%00", "%00"),
            ("amqp://ann%00:x@localhost", "%00"),
            ("amqp://ann:x%00y@localhost", "%00"),
            ("amqps://localhost?cacertfile=a%00b", "%00"),
            ("amqp://localhost/" + "v" * 256, "255 bytes"),
            ("amqp://localhost/a/b", "%2F"),
            ("amqp://localhost/?heartbeat=", "number of seconds"),
            ("amqp://localhost/?heartbeat=-1", "number of seconds"),
            ("amqp://localhost/?heartbeat=99999", "number of seconds"),
            ("amqp://localhost/?heartbeat=1&heartbeat=2", "twice"),
            ("amqp://localhost/?cacertfile=x", "cacertfile"),
            ("amqp://localhost/?frame_max=1", "frame_max"),
            ("amqps://localhost/?certfile=x", "together"),
            ("amqps://localhost/?keyfile=x", "together"),
            ("amqps://localhost/?cacertfile=", "no file"),
        ):
            with self.subTest(text=text):
                with self.assertRaises(BadURL) as raised:
                    BrokerURL.parse(text)
                said = str(raised.exception)
                self.assertIn(part, said)
                self.assertNotIn("\n", said)
                self.assertNotIn("sec", said.replace("seconds", ""), "no password in the text")

    def test_the_password_is_never_shown(self) -> None:
        url = BrokerURL.parse("amqp://ann:s3cret@[::1]:5,b/chat?heartbeat=3")
        self.assertNotIn("s3cret", f"{url} {url!r}")
        self.assertEqual(str(url), "amqp://ann@[::1]:5,b:5672/ vhost chat")
