from __future__ import annotations

import pytest

from deltaloom_server.context.secrets import has_secret_content, has_secret_name

KEY_LINE = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"


@pytest.mark.parametrize(
    "path",
    [
        ".env",
        "a/.ENV",
        ".env.production",
        "prod.env",
        "server.pem",
        "tls/Server.KEY",
        "id_rsa",
        "deploy/id_ed25519",
        "id_rsa.old",
        ".npmrc",
        ".pypirc",
        ".netrc",
        "home/.aws/credentials",
        ".docker/config.json",
        "x.p12",
        "client_secret_12.json",
        "terraform.tfstate",
        "config/secrets.yml",
    ],
)
def test_names_of_secrets(path: str) -> None:
    assert has_secret_name(path)


@pytest.mark.parametrize(
    "path",
    [
        ".env.example",
        ".env.sample",
        "env.py",
        "environment.py",
        "id_rsa.pub",
        "keys.py",
        "secrets.py",
        "credentials.py",
        "keyboard.json",
        "config.json",
        "monkey.txt",
        "docker/config.json.md",
    ],
)
def test_names_that_only_sound_secret(path: str) -> None:
    assert not has_secret_name(path)


# Assembled here, so that this file holds nothing that looks like a token itself.
@pytest.mark.parametrize(
    "text",
    [
        "-----BEGIN " + "RSA PRIVATE KEY-----\n" + KEY_LINE + "\n",
        "-----BEGIN " + "PRIVATE KEY-----\r\n" + KEY_LINE,
        "key = '-----BEGIN " + "OPENSSH PRIVATE KEY-----\\n" + KEY_LINE + "'",
        "-----BEGIN " + "RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES\n\n" + KEY_LINE,
        "aws = '" + "AKIA" + "Q4SD7XYZ2345ABCD'",
        "token: " + "ghp_" + "a1B2" * 9,
        "token: " + "github_pat_" + "a1B2" * 20,
        "xox" + "b-123456789012-abcdefghijkl",
        "glp" + "at-" + "abcdefghij0123456789",
        "sk_" + "live_" + "abcdefghij0123456789",
        "AIza" + "a" * 35,
    ],
)
def test_tokens_in_a_text(text: str) -> None:
    assert has_secret_content("before\n" + text + "\nafter\n")


@pytest.mark.parametrize(
    "text",
    [
        'MARKER = "-----BEGIN RSA PRIVATE KEY-----"\n',
        "-----BEGIN PUBLIC KEY-----\n" + KEY_LINE,
        "aws = AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_short",
        "x = 'sk-learn'",
        "password = input()",
    ],
)
def test_texts_without_secrets(text: str) -> None:
    assert not has_secret_content(text)
