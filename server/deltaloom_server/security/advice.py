"""What a sound fix looks like, rule by rule, as it is told to a model.

Invariant: advice says what the code should do, not how to quiet a scanner.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_ADVICE: Mapping[str, str] = MappingProxyType(
    {
        "S102": "do what the code needs without executing text as a program",
        "S103": "give the file only the permissions that its owner needs",
        "S104": "listen on the loopback interface only",
        "S105": "read the password from the environment",
        "S106": "read the password from the environment",
        "S107": "let the caller give the password, with no default",
        "S108": "make the temporary file with the tempfile module",
        "S113": "give the request a timeout",
        "S202": "extract the archive with filter='data'",
        "S301": "use json instead of pickle",
        "S302": "use json instead of marshal",
        "S306": "use tempfile.NamedTemporaryFile or mkstemp",
        "S307": "parse the value with ast.literal_eval",
        "S308": "escape the value",
        "S310": "refuse URLs whose scheme isn't http or https",
        "S311": "take random values from the secrets module",
        "S313": "parse the XML with defusedxml",
        "S314": "parse the XML with defusedxml",
        "S315": "parse the XML with defusedxml",
        "S316": "parse the XML with defusedxml",
        "S317": "parse the XML with defusedxml",
        "S318": "parse the XML with defusedxml",
        "S319": "parse the XML with defusedxml",
        "S320": "turn entity resolution and network access off",
        "S323": "use ssl.create_default_context",
        "S324": "use hashlib.sha256",
        "S501": "verify the server's certificate",
        "S502": "allow TLS 1.2 and newer only",
        "S503": "allow TLS 1.2 and newer only",
        "S504": "give the TLS version: 1.2 or newer",
        "S505": "use a key of at least 2048 bits",
        "S506": "load the YAML with yaml.safe_load",
        "S507": "reject unknown host keys",
        "S602": "run the program with a list of arguments and without a shell",
        "S604": "run the program with a list of arguments and without a shell",
        "S605": "run the program with subprocess and a list of arguments",
        "S608": "pass the values as parameters of the query",
        "S701": "turn autoescape on",
        "S704": "escape the value",
        "DL101": "compare with hmac.compare_digest",
        "DL102": "verify the token's signature",
        "DL103": "check that the resolved path lies in the folder",
        "DL104": "check that each member's path lies in the folder",
        "DL105": "redirect only to paths of this site",
        "DL106": "leave the secret out of the log",
        "DL107": "set secure and httponly on the cookie",
        "DL108": "escape the text with re.escape",
        "DL109": "escape the value for the query's language",
        "DL110": "pass the value to a fixed template as a variable",
        "DL113": "answer with a general message",
        "DL114": "turn external entities off",
        "DL116": "derive the hash with hashlib.scrypt and a random salt",
        "DL117": "read the key from the environment",
    }
)


def advice(rule: str) -> str:
    """What a fix should do, in the imperative; "" for a rule about which there is nothing to say."""
    if rule.startswith("secret/"):
        return "read the credential from the environment"
    return _ADVICE.get(rule, "")
