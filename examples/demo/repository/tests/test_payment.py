import unittest

from services.payment.charges import DeclinedError, charge, fee_cents, is_large, refund


def accepting(card: str, amount_cents: int) -> str:
    return f"{card}-{amount_cents}"


def refusing(card: str, amount_cents: int) -> str:
    raise ConnectionError(card, amount_cents)


class ChargeTest(unittest.TestCase):
    def test_a_charge_has_a_receipt(self) -> None:
        receipt = charge(accepting, "4242", 1000, notes=["first"])

        self.assertEqual(
            receipt,
            {"reference": "4242-1000", "amount_cents": 1000, "fee_cents": 59, "notes": ["first"]},
        )

    def test_whatever_the_gateway_raises_is_a_decline(self) -> None:
        with self.assertRaises(DeclinedError):
            charge(refusing, "4242", 1000)
        with self.assertRaises(DeclinedError):
            charge(accepting, None, 1000)

    def test_a_refund_is_never_more_than_was_paid(self) -> None:
        receipt = charge(accepting, "4242", 1000)

        self.assertEqual(refund(receipt), 1000)
        self.assertEqual(refund(receipt, 400), 400)
        self.assertEqual(refund(receipt, 4000), 1000)

    def test_fees_and_limits(self) -> None:
        self.assertEqual(fee_cents(0), 30)
        self.assertTrue(is_large(1_000_001))
        self.assertFalse(is_large(1_000_000))
