"""Files that hold secrets, told by name or by content.

Invariant: nothing here returns, raises or logs any part of a file's text; answers are yes or no.

The content signatures are the fixed prefixes that issuers publish so that leaked tokens can be found.
"""

from __future__ import annotations

import re

_NAMES = frozenset(
    {
        ".env", ".envrc", ".netrc", "_netrc", ".npmrc", ".yarnrc.yml", ".pypirc", ".pgpass", ".my.cnf",
        ".htpasswd", ".git-credentials", ".dockercfg", ".vault-token", ".s3cfg", ".boto",
        "credentials", "credentials.json", "credentials.toml", "credentials.yml", "credentials.yaml",
        "secrets.json", "secrets.toml", "secrets.yml", "secrets.yaml", "kubeconfig", "terraform.tfstate",
        "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "id_ecdsa_sk", "id_ed25519_sk",
    }
)  # fmt: skip

_SUFFIXES = (
    ".pem", ".key", ".p12", ".pfx", ".p8", ".jks", ".keystore", ".kdbx", ".ppk", ".ovpn", ".tfvars",
    ".tfstate", ".mobileprovision",
)  # fmt: skip

_TAILS = (".docker/config.json", ".kube/config", ".aws/config", ".config/gh/hosts.yml")

_NAME_PATTERN = re.compile(r"\.env\..+|.+\.env|client_secret.*\.json|service[-_]account.*\.json|id_rsa.*")
_HARMLESS = re.compile(
    r"\.pub$|(^|\.)env.*\.(example|sample|template|dist|defaults?)$|^(example|sample)\.env$"
)

_CONTENT = re.compile(
    # A key block with key material after it: a mere mention of the marker in source code is no secret.
    r"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----"
    r"(?:\\r|\\n|[\s\"'+,]|[A-Za-z-]+: [^\n]*\n){1,40}[A-Za-z0-9+/=]{24,}"
    r"|PuTTY-User-Key-File-\d"
    r"|\b(?:AKIA|ASIA)(?![A-Z0-9]{9}EXAMPLE)[A-Z0-9]{16}\b"
    r"|\bgh[pousr]_[A-Za-z0-9]{36,255}\b"
    r"|\bgithub_pat_[A-Za-z0-9_]{60,}\b"
    r"|\bglpat-[A-Za-z0-9_-]{20,}"
    r"|\bxox[abeoprs]-[0-9A-Za-z-]{20,}"
    r"|hooks\.slack\.com/services/T[A-Z0-9]{6,}/B[A-Z0-9]{6,}/[A-Za-z0-9]{20,}"
    r"|\bAIza[0-9A-Za-z_-]{35}\b"
    r"|\b[rs]k_live_[0-9a-zA-Z]{20,}\b"
    r"|\bpypi-AgEIcHlwaS5vcmc[A-Za-z0-9_-]{40,}"
    r"|\bnpm_[A-Za-z0-9]{36}\b"
    r"|\bhf_[A-Za-z]{34}\b"
    r"|\bsk-(?:ant|proj|svcacct)-[A-Za-z0-9_-]{30,}"
    r"|\bSG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43}\b"
    r"|AccountKey=[A-Za-z0-9+/]{86}=="
)


def has_secret_name(path: str) -> bool:
    """Does the name say that the file holds secrets (`.env`, `*.pem`, `id_rsa`, …)? Case doesn't matter."""
    lowered = path.lower().rstrip("/")
    name = lowered.rsplit("/", 1)[-1]
    if _HARMLESS.search(name):
        return False
    if name in _NAMES or name.endswith(_SUFFIXES) or _NAME_PATTERN.fullmatch(name):
        return True
    return any(lowered == tail or lowered.endswith("/" + tail) for tail in _TAILS)


def has_secret_content(text: str) -> bool:
    """Does the text hold a private key or a token in a known issuer's form?"""
    return _CONTENT.search(text) is not None
