"""What other scanners' rules are called here.

Invariant: a name is mapped only where it means the same weakness; all others stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from deltaloom_server.security.rules import canonical

_EMBEDDED = re.compile(r"(?:\A|[./:_-])([BS]\d{3})(?:\Z|[./:_-])")

_CODEQL: Mapping[str, str] = MappingProxyType(
    {
        "py/bind-socket-all-network-interfaces": "S104",
        "py/code-injection": "S307",
        "py/command-line-injection": "S602",
        "py/flask-debug": "S201",
        "py/hardcoded-credentials": "S105",
        "py/insecure-default-protocol": "S504",
        "py/insecure-protocol": "S502",
        "py/insecure-randomness": "S311",
        "py/insecure-temporary-file": "S306",
        "py/jinja2/autoescape-false": "S701",
        "py/overly-permissive-file": "S103",
        "py/paramiko-missing-host-key-validation": "S507",
        "py/request-without-cert-validation": "S501",
        "py/shell-command-constructed-from-input": "S602",
        "py/sql-injection": "S608",
        "py/tarslip": "S202",
        "py/unsafe-deserialization": "S301",
        "py/weak-crypto-key": "S505",
        "py/weak-cryptographic-algorithm": "S305",
        "py/weak-sensitive-data-hashing": "S324",
        "py/xml-bomb": "S314",
        "py/xxe": "S314",
    }
)
# Semgrep's registry: the last part of a rule's id, whichever folders it is in.
_SEMGREP: Mapping[str, str] = MappingProxyType(
    {
        "avoid-bind-to-all-interfaces": "S104",
        "avoid-pickle": "S301",
        "avoid-pyyaml-load": "S506",
        "dangerous-system-call": "S605",
        "debug-enabled": "S201",
        "disabled-cert-validation": "S501",
        "eval-detected": "S307",
        "exec-detected": "S102",
        "formatted-sql-query": "S608",
        "hardcoded-password-default-argument": "S107",
        "insecure-file-permissions": "S103",
        "insecure-hash-algorithm-md5": "S324",
        "insecure-hash-algorithm-sha1": "S324",
        "paramiko-implicit-trust-host-key": "S507",
        "sqlalchemy-execute-raw-query": "S608",
        "subprocess-shell-true": "S602",
        "unverified-ssl-context": "S323",
        "use-defused-xml": "S314",
    }
)


def our_rule(identifier: str) -> str:
    """Our name for a rule of bandit, ruff, CodeQL or semgrep; another stays as it is."""
    known = canonical(identifier)
    if known != identifier or re.fullmatch(r"[BS]\d{3}", identifier):
        return known
    if identifier in _CODEQL:
        return _CODEQL[identifier]
    if identifier.startswith("python.") and (last := identifier.rpartition(".")[2]) in _SEMGREP:
        return _SEMGREP[last]
    if match := _EMBEDDED.search(identifier):  # "bandit.B602", "B602/subprocess_popen…"
        return canonical(match[1])
    return identifier
