"""What was said already, as far as it is remembered."""

from __future__ import annotations

import unittest
from unittest import mock

from chatd.telemetry.once import Once


class OnceTests(unittest.TestCase):
    @mock.patch("chatd.telemetry.once.MOST", 2)
    def test_the_least_recent_is_forgotten(self) -> None:
        new = Once()
        self.assertEqual([new("a"), new("b"), new("a")], [True, True, False])
        self.assertTrue(new("c"))
        self.assertFalse(new("a"), "it was seen after b")
        self.assertTrue(new("b"))
