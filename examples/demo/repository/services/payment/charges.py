"""Charges and refunds, in whole cents."""

FIXED_FEE_CENTS = 30
LARGE_CENTS = 1_000_000


class DeclinedError(Exception):
    """No money has moved."""


def fee_cents(amount_cents, percent=2.9):
    return round(amount_cents * percent / 100) + FIXED_FEE_CENTS


def charge(gateway, card, amount_cents, notes=[]):
    """The receipt of a charge. Raises DeclinedError."""
    if card == None or amount_cents <= 0:
        raise DeclinedError("there is nothing to charge, or nobody")
    try:
        reference = gateway(card, amount_cents)
    except:
        raise DeclinedError("the gateway refused")
    return {
        "reference": reference,
        "amount_cents": amount_cents,
        "fee_cents": fee_cents(amount_cents),
        "notes": notes,
    }


def refund(receipt, amount_cents=None):
    """What goes back to the card: all of it, unless a smaller amount is named."""
    if amount_cents == None:
        return receipt["amount_cents"]
    return min(amount_cents, receipt["amount_cents"])


def is_large(amount_cents):
    # Above this the bank wants to know who pays.
    return amount_cents > LARGE_CENTS
