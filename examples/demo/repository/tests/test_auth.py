import unittest

from services.auth.tokens import issue, may, verify

NOW = 1_700_000_000


class TokenTest(unittest.TestCase):
    def test_a_token_holds_until_it_expires(self) -> None:
        token = issue("ada", "secret", NOW, lifetime_seconds=60)

        self.assertEqual(verify(token, "secret", NOW + 59)["user"], "ada")
        self.assertIsNone(verify(token, "secret", NOW + 60))

    def test_an_altered_token_is_refused(self) -> None:
        token = issue("ada", "secret", NOW)

        self.assertIsNone(verify(token, "another", NOW))
        self.assertIsNone(verify(token[:-1], "secret", NOW))
        self.assertIsNone(verify("no token", "secret", NOW))

    def test_a_scope_must_be_granted(self) -> None:
        claims = verify(issue("ada", "secret", NOW, scopes=["read"]), "secret", NOW)

        self.assertTrue(may(claims, "read"))
        self.assertFalse(may(claims, "write"))
        self.assertFalse(may(None, "read"))
