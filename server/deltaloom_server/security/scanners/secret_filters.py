"""What looks like a credential and isn't one: templates, placeholders, examples.

Invariant: a value is judged by itself and by its kind alone, so that the same one gets the same answer
everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from detect_secrets.filters import heuristic

_PLACEHOLDER = re.compile(
    r"example|sample|placeholder|changeme|change[_-]me|replace[_-]?(?:me|this)|dummy|redacted|insert[_-]?your"
    r"|your[_-]|[_-]here\b|fake|not[_-]?a?[_-]?real|x{6,}|\*{3,}|\.{3,}|\u2026|1234567890|abcdefgh|deadbeef",
    re.IGNORECASE,
)
_WORDS_FOR_IT = re.compile(
    r"(?:my|the|some|a|your|user|db|test)?[_-]?"
    r"(?:pass|password|passwd|pwd|pw|secret|token|key|apikey|api[_-]?key|user|username|login|admin|root|test|foo"
    r"|bar|baz|xyz|abc|guest|none|null|postgres|mysql|mongo|redis|x-oauth-basic|x-access-token)[\d_-]*",
    re.IGNORECASE,
)
_TEMPLATE = re.compile(r"\$[({\w]|\{\{|\}\}|\{\w*\}|%[sd(]|<[^>]*>|#\{|%\w+%|\(\)|__\w+__")
_LEAST_VARIETY = 8
"""Different characters of a token: real ones are random."""
_CLASSES: Mapping[str, int] = MappingProxyType(
    {
        "artifactory": 2,
        "aws": 2,
        "azure_storage_key": 3,
        "discord": 3,
        "ibm_cloud_iam": 3,
        "ibm_cos_hmac": 2,
        "mailchimp": 2,
        "softlayer": 2,
        "telegram_token": 3,
        "twilio": 3,
    }
)
"""How many of digits, small and capital letters such a token has; words and hashes have fewer."""
_AWS_SECRET_LENGTH = 40
_LEAST_PASSWORD = 8


def is_token(secret: str, detector: str) -> bool:
    """Could this match of a detector's be a real token?"""
    if detector == "basic_auth":
        return _is_password_in_url(secret)
    if len(set(secret)) < _LEAST_VARIETY or not _may_be_real(secret):
        return False
    classes = sum(any(map(test, secret)) for test in (str.isdigit, str.islower, str.isupper))
    if detector == "aws" and len(secret) == _AWS_SECRET_LENGTH:
        return classes == 3  # a SHA-1 in hex is as long
    return classes >= _CLASSES.get(detector, 1)


def is_password(value: str) -> bool:
    """Could this value of something that is called a password, key or secret be one?

    At least eight characters, letters and digits among them, no white space: names, sentences, paths and
    types stand beside such words far more often than credentials do.
    """
    if len(value) < _LEAST_PASSWORD or any(letter.isspace() for letter in value):
        return False
    if not any(letter.isdigit() for letter in value) or not any(letter.isalpha() for letter in value):
        return False
    if value.startswith(("/", "./", "../", "~", "http:", "https:", "arn:", "#", "@", "--")):
        return False
    if any(mark in value for mark in "()[]{}<>;`\\") or (value.isidentifier() and "_" in value):
        return False
    return _may_be_real(value) and not heuristic.is_potential_uuid(value)


def _is_password_in_url(secret: str) -> bool:
    return len(secret) >= 6 and len(set(secret)) > 3 and _may_be_real(secret)


def _may_be_real(secret: str) -> bool:
    return not (
        _PLACEHOLDER.search(secret)
        or _TEMPLATE.search(secret)
        or _WORDS_FOR_IT.fullmatch(secret)
        or heuristic.is_sequential_string(secret)
        or heuristic.is_templated_secret(secret)
        or heuristic.is_not_alphanumeric_string(secret)
    )
