"""Credentials by shape: each kind found where it stands, and what only looks like one left alone.

The credentials here are made up, and put together when a test runs, so that no scanner finds them here.
"""

from __future__ import annotations

import random
import string
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from deltaloom_server.positions import split_lines
from deltaloom_server.security.analysis.messages import ScanResult
from deltaloom_server.security.scanners import secrets

_ALNUM = string.ascii_letters + string.digits


def made(length: int, letters: str = _ALNUM, seed: int = 1) -> str:
    """A random-looking text, with small and capital letters and digits where `letters` has them."""
    chooser = random.Random(seed)
    kinds = [kind for kind in (string.digits, string.ascii_lowercase, string.ascii_uppercase)
             if set(kind) & set(letters)]  # fmt: skip
    rest = [chooser.choice(letters) for _ in range(length - len(kinds))]
    fixed = [chooser.choice([letter for letter in kind if letter in letters]) for kind in kinds]
    mixed = rest + fixed
    chooser.shuffle(mixed)
    return "".join(mixed)


UPPER = string.ascii_uppercase + string.digits
LOWER = string.ascii_lowercase + string.digits
HEX = "0123456789abcdef"

TOKENS = {
    "aws-access-key": "AKIA" + made(16, UPPER),
    "github-token": "gh" + "p_" + made(36),
    "gitlab-token": "glpat" + "-" + made(20),
    "openai-token": "sk" + "-proj-" + made(60),
    "anthropic-api-key": "sk" + "-ant-api03-" + made(93),
    "google-api-key": "AIza" + made(35),
    "hugging-face-token": "hf" + "_" + made(34),
    "npm-tokens": "npm" + "_" + made(36),
    "pypi-token": "pypi-" + "AgEIcHlwaS5vcmc" + made(80),
    "slack-token": "xoxb" + "-402938475610-" + made(24, LOWER),
    "stripe-access-key": "sk" + "_live_" + made(24),
    "sendgrid-api-key": "SG." + made(22) + "." + made(43),
    "square-oauth-secret": "sq0" + "csp-" + made(43),
    "twilio-api-key": "SK" + made(32, LOWER),
    "mailchimp-access-key": made(32, LOWER) + "-us12",
    "telegram-bot-token": "123456789:" + made(35),
    "discord-bot-token": "M" + made(23) + "." + made(6) + "." + made(27),
    "json-web-token": "eyJhbGciOiJIUzI1NiJ9" + ".eyJzdWIiOiI0MiIsImFkbSI6dHJ1ZX0." + made(43),
}


@pytest.mark.parametrize("kind", TOKENS)
@pytest.mark.parametrize(
    "around", ['é𝒳 = "{}"\n', "call(x, '{}')  # why\r\n", "key: {}\n", "\t{}\n", "KEY={}\r"]
)
def test_each_kind_is_found_exactly_where_it_stands(kind: str, around: str) -> None:
    token = TOKENS[kind]
    text = "# é\n" + around.format(token) + "end"
    (finding,) = secrets.scan("a.py", text).findings
    assert finding.rule == f"secret/{kind}"
    assert finding.cwe == 798
    assert finding.scanners == ("secrets",)
    line = split_lines(text)[finding.span.start_line]
    assert finding.span.start_line == finding.span.end_line == 1
    assert line[finding.span.start_column : finding.span.end_column] == token
    assert token[:8] not in finding.message


def test_an_aws_secret_and_a_password_in_an_address_are_marked_without_what_is_around_them() -> None:
    secret, password = made(40, _ALNUM + "/+"), made(12)
    text = f'aws_secret_access_key = "{secret}"\nurl = "postgres://svc:{password}@db/x"\n'
    found = {finding.rule: finding.span for finding in secrets.scan("a.py", text).findings}
    lines = text.split("\n")
    assert {rule: lines[s.start_line][s.start_column : s.end_column] for rule, s in found.items()} == {
        "secret/aws-access-key": secret, "secret/basic-auth-credentials": password,
    }  # fmt: skip


@pytest.mark.parametrize("end", ["\n", "\r\n", "\\n"])
def test_a_private_key_is_one_finding_from_marker_to_marker(end: str) -> None:
    body = end.join(made(64, seed=number) for number in range(5))
    key = f"-----BEGIN RSA {'PRIVATE'} KEY-----{end}{body}{end}-----END RSA {'PRIVATE'} KEY-----"
    text = f"import x\nKEY = '''{key}'''\nx()\n"
    (finding,) = secrets.scan("a.py", text).findings
    lines = split_lines(text)
    assert (finding.rule, finding.severity) == ("secret/private-key", "critical")
    assert (finding.span.start_line, finding.span.start_column) == (1, 9)
    assert lines[finding.span.end_line][: finding.span.end_column].endswith("PRIVATE KEY-----")
    assert secrets.scan("a.py", text, [(0, 0), (len(lines) - 2, len(lines))]).findings == ()
    assert secrets.scan("a.py", text, [(1, 1)]).findings == (finding,)
    assert secrets.scan("a.py", text, [(finding.span.end_line, finding.span.end_line)]).findings == (finding,)


@pytest.mark.parametrize(
    "text",
    [
        "marker = '-----BEGIN PRIVATE KEY-----'\nif line.startswith('-----BEGIN RSA PRIVATE KEY-----'):\n",
        "key = 'AKIAIOSFODNN7EXAMPLE'\n",
        "key = 'AKIA" + "X" * 16 + "'\n",
        "token = 'ghp_" + "x" * 36 + "'\n",
        "token = os.environ['GITHUB_TOKEN']\n",
        "url = 'https://user:password@example.com'\nurl = 'https://{user}:{password}@host'\n",
        "url = 'postgres://postgres:postgres@localhost'\nurl = 'ftp://a:%s@b' % x\nu = 'http://u:$PASSWORD@h'\n",
        "digest = '" + made(64, HEX) + "'\ncommit = '" + made(40, HEX) + "'\n",
        "aws_key_sha1 = '" + made(40, HEX) + "'\n",
        "data = '" + made(3000, _ALNUM + "+/") + "'\n",
        "password = 'hunter22hunter'\n",  # Python: ruff's and bandit's
        "id = '8f14e45f-ceea-467f-a0e6-0123456789ab'\nip = '203.0.113.7'\n",
        "eyJ.eyJ.x = 1\n",
        "",
    ],
)
def test_what_only_looks_like_one_is_left_alone(text: str) -> None:
    assert secrets.scan("a.py", text) == ScanResult(())


@pytest.mark.parametrize(
    ("path", "line", "value"),
    [
        ("app.yaml", "  db_password: tr0ub4dor&3x", "tr0ub4dor&3x"),
        (".env", "SECRET_KEY=9f8a7b6c5d4e3f2a1b0c", "9f8a7b6c5d4e3f2a1b0c"),
        ("config/prod.env", "API_KEY = 'q9w8e7r6t5y4'", "q9w8e7r6t5y4"),
        ("a.ts", 'const apiKey = "q9w8e7r6t5y4u3";', "q9w8e7r6t5y4u3"),
        ("a.json", '  "password": "q9w8-e7r6-t5y4"', "q9w8-e7r6-t5y4"),
        ("A.java", 'String password = "S0mmer!2024";', "S0mmer!2024"),
        ("a.go", 'password := "S0mmer!2024"', "S0mmer!2024"),
        ("x.tf", 'password = "S0mmer!2024"', "S0mmer!2024"),
    ],
)
def test_values_of_passwords_are_found_in_settings_and_other_languages(
    path: str, line: str, value: str
) -> None:
    (finding,) = secrets.scan(path, "x\n" + line + "\n").findings
    assert finding.rule == "secret/secret-keyword"
    assert line[finding.span.start_column : finding.span.end_column] == value
    assert value not in finding.message


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("app.yaml", "password: ${DB_PASSWORD_1}"),
        ("app.yaml", "password: '{{ vault_password1 }}'"),
        ("app.yaml", "password: changeme123"),
        ("app.yaml", "key_path: /etc/ssl/key1.pem"),
        ("a.js", "const password = getPassword1('a');"),
        ("a.js", 'label = "password1 must have 8 letters";'),
        ("a.js", 'const secret_name = "my_secret_name_2";'),
        ("package-lock.json", '"secret": "q9w8-e7r6-t5y4"'),
        ("README.md", "password: 'tr0ub4dor&3x'"),
    ],
)
def test_values_that_are_no_passwords_are_left_alone(path: str, line: str) -> None:
    assert secrets.scan(path, line + "\n") == ScanResult(())


def test_only_the_lines_asked_for_are_looked_at() -> None:
    token = TOKENS["github-token"]
    text = f"a = '{token}'\n" * 6
    found = secrets.scan("a.py", text, [(1, 2), (5, 900), (-3, -1)]).findings
    assert [finding.span.start_line for finding in found] == [1, 2, 5]
    assert secrets.scan("a.py", text, []).findings == ()


def test_several_detectors_on_one_place_make_one_finding() -> None:
    token = TOKENS["github-token"]
    (finding,) = secrets.scan(".env", f"SECRET_TOKEN=https://x:{token}@github.com\n").findings
    assert finding.rule == "secret/github-token"


def test_a_very_long_line_is_searched_to_its_end_in_one_pass() -> None:
    token = TOKENS["github-token"]
    for place in (0, 5_990, 7_990, 12_345, 299_000):
        line = " " * place + token + " " * (300_000 - place)
        (finding,) = secrets.scan("a.min.js", line).findings
        assert finding.span.start_column == place


@pytest.mark.parametrize(
    "piece", ["eyJ", "://a:", "//x/:_authToken=", "key=", "aws key '", "AKIA", "-us1", "'password':"]
)
def test_lines_made_to_be_slow_are_not(piece: str) -> None:
    secrets.scan("a.js", piece * (300_000 // len(piece)))  # the suite's own time limit is the judge


def test_a_text_that_is_too_large_is_said() -> None:
    result = secrets.scan("a.txt", "x\n" * (3 << 20))
    assert [(one.reason, one.failed) for one in result.unscanned] == [("The text is over 4 MiB.", False)]


def test_the_standard_library_has_hardly_any() -> None:
    folder = Path(sysconfig.get_path("stdlib"))
    found = [
        (file.name, finding.rule)
        for file in sorted(folder.glob("[h-s]*.py")) + sorted(folder.glob("http/*.py"))
        for finding in secrets.scan(file.name, file.read_text("utf-8")).findings
    ]
    assert found == []


def test_nothing_is_verified_over_the_network() -> None:
    code = (
        "import socket\n"
        "def refuse(*a, **k): raise SystemExit('network')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse\n"
        "from deltaloom_server.security.scanners import secrets\n"
        f"print(len(secrets.scan('a', {chr(10).join(TOKENS.values())!r}).findings))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"{len(TOKENS)}\n"
