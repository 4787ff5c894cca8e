"""JSON Web Tokens: whether one is good, and what it says (RFC 7519, with the advice of RFC 8725).

The operator lists the algorithms, and each is bound to one kind of key: an HMAC secret never verifies what
an RSA key should have signed, nor the reverse. Of a token's header only `alg` and `kid` are read, to choose
among our own keys; a token that brings a key, or the address of one, is refused and nothing is fetched.
Times come as arguments.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from jwt.algorithms import get_default_algorithms

from providers.canonical.errors import NotAuthenticated
from router.settings import JwtSettings

LONGEST_TOKEN = 8 << 10  # bytes
SHORTEST_SECRET = {"HS256": 32, "HS384": 48, "HS512": 64}  # bytes: the size of the hash, RFC 7518 section 3.2

#: The kind of key that each algorithm works with (RFC 7518 section 3.1, RFC 8037). `none` is not among them.
KEY_KINDS = {
    **dict.fromkeys(("HS256", "HS384", "HS512"), "oct"),
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), "RSA"),
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "Ed25519",
}

_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")  # RFC 7515 section 3.1
_KID = re.compile(r"(?!.*\.\.)[A-Za-z0-9._~=+:@-]{1,256}")
# Keys and places of keys that a token brings itself (RFC 7515 section 4.1), and what changes how it is read.
_NEVER_IN_HEADER = frozenset({"jku", "jwk", "x5u", "x5c", "crit", "b64", "zip", "enc"})
_JWS = jwt.PyJWS(list(KEY_KINDS), {"enforce_minimum_key_length": True})
_decode_json = msgspec.json.Decoder().decode


class Claims(msgspec.Struct, frozen=True, kw_only=True):
    """What a good token says. `expires` in Unix seconds."""

    subject: str
    expires: float
    issuer: str | None = None


class Tokens:
    """Verifies tokens with the configured keys. ValueError says what is wrong with the settings."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._hmac_key = _hmac_key(settings)
        self._keys = _public_keys(settings)

    def verify(self, token: str, now: float) -> Claims:
        """What the token says. NotAuthenticated, with its reason for the log, for every kind of bad one."""
        if len(token) > LONGEST_TOKEN:
            raise NotAuthenticated(reason="too_large")
        if not _COMPACT.fullmatch(token):
            raise NotAuthenticated(reason="malformed")
        try:
            claims = _decode_json(self._payload(token, _JWS.get_unverified_header(token)))
        except jwt.InvalidSignatureError:
            raise NotAuthenticated(reason="signature") from None
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise NotAuthenticated(reason="malformed") from None
        if type(claims) is not dict:
            raise NotAuthenticated(reason="malformed")
        return self._checked(claims, now)

    def issue(self, subject: str, ttl: float, now: float) -> str:
        """A token that `verify` takes for `ttl` seconds, for trying things out. ValueError without secret."""
        if not self._hmac_key:
            raise ValueError("a token can only be made with an HS algorithm, and access.jwt lists none")
        algorithm = next(name for name in self._settings.algorithms if KEY_KINDS[name] == "oct")
        claims: dict[str, Any] = {"sub": subject, "iat": int(now), "exp": int(now + ttl)}
        if self._settings.issuer is not None:
            claims["iss"] = self._settings.issuer
        if self._settings.audience:
            claims["aud"] = self._settings.audience[0]
        return jwt.encode(claims, self._hmac_key, algorithm=algorithm)

    def _payload(self, token: str, header: dict[str, Any]) -> bytes:
        """The bytes that one of our keys signed, with the configured algorithm that the token names."""
        algorithm, kid = header.get("alg"), header.get("kid")
        if type(algorithm) is not str or algorithm not in self._settings.algorithms:
            raise NotAuthenticated(reason="algorithm")
        if not _NEVER_IN_HEADER.isdisjoint(header) or not _is_kid(kid):
            raise NotAuthenticated(reason="header")
        keys = self._candidates(algorithm, kid)
        if not keys:
            raise NotAuthenticated(reason="kid")
        for key in keys[:-1]:
            with suppress(jwt.InvalidSignatureError):
                return _signed(token, key, algorithm)
        return _signed(token, keys[-1], algorithm)

    def _candidates(self, algorithm: str, kid: str | None) -> list[Any]:
        """Our keys that may have signed it: those that the token names, and those that have no name."""
        if KEY_KINDS[algorithm] == "oct":
            return [self._hmac_key]
        keys = self._keys.get(algorithm, ())
        return [key for name, key in keys if name is None or kid is None or name == kid]

    def _checked(self, claims: dict[str, Any], now: float) -> Claims:
        """Times may be off by the leeway; `exp` and `sub` must be there (RFC 7519 section 4.1)."""
        subject, issuer = claims.get("sub"), claims.get("iss")
        if type(subject) is not str or not 1 <= len(subject) <= 256:
            raise NotAuthenticated(reason="claims")
        expires = _time(claims, "exp")
        if expires is None:
            raise NotAuthenticated(reason="claims")
        leeway = self._settings.leeway
        if expires + leeway <= now:
            raise NotAuthenticated(reason="expired")
        if max(_time(claims, "nbf") or 0.0, _time(claims, "iat") or 0.0) > now + leeway:
            raise NotAuthenticated(reason="not_yet")
        if self._settings.issuer is not None and issuer != self._settings.issuer:
            raise NotAuthenticated(reason="issuer")
        audience = claims.get("aud")
        audiences = audience if type(audience) is list else [audience]
        if self._settings.audience and not any(name in audiences for name in self._settings.audience):
            raise NotAuthenticated(reason="audience")
        return Claims(subject=subject, expires=expires, issuer=issuer if type(issuer) is str else None)


def _is_kid(kid: Any) -> bool:
    return kid is None or (type(kid) is str and _KID.fullmatch(kid) is not None)


def _time(claims: dict[str, Any], name: str) -> float | None:
    """A claim in seconds; None where it is not there. A year beyond counting is still a time."""
    if name not in claims:
        return None
    value = claims[name]
    if type(value) is float:
        return value
    if type(value) is not int:
        raise NotAuthenticated(reason="claims")
    return float(max(-(10**15), min(value, 10**15)))


def _signed(token: str, key: Any, algorithm: str) -> bytes:
    payload: bytes = _JWS.decode_complete(token, key, algorithms=[algorithm])["payload"]
    return payload


# ── keys ───────────────────────────────────────────────────────────────────────────────


def _hmac_key(settings: JwtSettings) -> bytes:
    """The key of the HS algorithms, b"" when none is listed."""
    if not settings.algorithms or not KEY_KINDS.keys() >= set(settings.algorithms):
        raise ValueError(f"access.jwt.algorithms must be some of {', '.join(KEY_KINDS)}")
    symmetric = [name for name in settings.algorithms if KEY_KINDS[name] == "oct"]
    if not symmetric:
        return b""
    if settings.secret is None:
        raise ValueError(f"access.jwt.algorithms has {symmetric[0]}, which needs access.jwt.secret")
    key = settings.secret.reveal().encode()
    shortest = max(SHORTEST_SECRET[name] for name in symmetric)
    if len(key) < shortest:
        raise ValueError(f"access.jwt.secret has less than {shortest} bytes")
    try:
        get_default_algorithms()[symmetric[0]].prepare_key(key)
    except jwt.InvalidKeyError:
        raise ValueError("access.jwt.secret is a public key or a certificate, which is no secret") from None
    return key


def _public_keys(settings: JwtSettings) -> dict[str, list[tuple[str | None, Any]]]:
    """For each algorithm that is not HMAC the keys that fit it, with their names."""
    found: dict[str, list[tuple[str | None, Any]]] = {}
    for algorithm in settings.algorithms:
        if KEY_KINDS[algorithm] == "oct":
            continue
        keys = [(None, key) for text in settings.public_keys if (key := _of_pem(text, algorithm))]
        named = [(_name(row), key) for row in settings.jwks if (key := _of_jwk(row, algorithm))]
        found[algorithm] = [*keys, *named]
        if not found[algorithm]:
            raise ValueError(f"access.jwt.algorithms has {algorithm}, and no key fits it")
    return found


def _of_pem(text: str, algorithm: str) -> Any:
    """The key, None when it is of another kind. ValueError for a text that holds no public key."""
    try:
        key: Any = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("access.jwt.public_key is not a public key in PEM") from None
    kinds = {RSAPublicKey: "RSA", Ed25519PublicKey: "Ed25519"}
    kind = next((name for type_, name in kinds.items() if isinstance(key, type_)), None)
    if isinstance(key, EllipticCurvePublicKey):
        kind = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}.get(key.curve.name)
    if kind != KEY_KINDS[algorithm]:
        return None
    if problem := get_default_algorithms()[algorithm].check_key_length(key):
        raise ValueError(f"access.jwt.public_key: {problem}")
    return key


def _of_jwk(row: Mapping[str, Any], algorithm: str) -> Any:
    """The key, None when it is not for this.

    Symmetric keys, private ones, those for encryption and those that are too short are left out: whoever
    writes the set (RFC 7517) must not be able to weaken what the operator configured.
    """
    kind, wanted = row.get("kty"), KEY_KINDS[algorithm]
    fits = wanted == "RSA" if kind == "RSA" else kind in ("EC", "OKP") and row.get("crv") == wanted
    if not fits or "d" in row or row.get("use", "sig") != "sig" or row.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(dict(row), algorithm)
    except (jwt.PyJWTError, ValueError, TypeError):
        return None
    return None if key.Algorithm.check_key_length(key.key) else key


def _name(row: Mapping[str, Any]) -> str | None:
    kid = row.get("kid")
    return kid if type(kid) is str else None
