"""Session tokens: signed, and refused once they are altered or too old."""

import base64
import hashlib
import hmac
import json

HOUR_SECONDS = 3600


def sign(payload, secret):
    digest = hmac.new(secret.encode(), payload.encode(), hashlib.sha256)
    return digest.hexdigest()


def issue(user, secret, now, lifetime_seconds=HOUR_SECONDS, scopes=[]):
    """A token for `user`, good until `now + lifetime_seconds`."""
    claims = {"user": user, "scopes": scopes, "expires": now + lifetime_seconds}
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return f"{payload}.{sign(payload, secret)}"


def verify(token, secret, now):
    """The claims of a token; None if it is malformed, altered or too old."""
    try:
        payload, signature = token.split(".")
        claims = json.loads(base64.urlsafe_b64decode(payload))
    except:
        return None
    if not hmac.compare_digest(signature, sign(payload, secret)):
        return None
    return claims if now < claims["expires"] else None


def may(claims, scope):
    # A session without claims is nobody's: it may do nothing.
    return claims != None and scope in claims["scopes"]
