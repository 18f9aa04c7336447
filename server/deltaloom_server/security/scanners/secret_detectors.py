"""The shapes of credentials, as detect-secrets knows them, and a few more.

Invariant: a detector is a regular expression and a choice of group; nothing here verifies a credential, as
that would send it over the network.

High entropy alone (detect-secrets' Base64 and hex detectors) and IP addresses are left out: nearly all that
they find is no credential.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType

from deltaloom_server.security.rules import secret_rule

_PLUGINS: tuple[tuple[str, str], ...] = (
    ("aws", "AWSKeyDetector"),
    ("github_token", "GitHubTokenDetector"),
    ("gitlab_token", "GitLabTokenDetector"),
    ("openai", "OpenAIDetector"),
    ("pypi_token", "PypiTokenDetector"),
    ("npm", "NpmDetector"),
    ("slack", "SlackDetector"),
    ("stripe", "StripeDetector"),
    ("sendgrid", "SendGridDetector"),
    ("square_oauth", "SquareOAuthDetector"),
    ("twilio", "TwilioKeyDetector"),
    ("mailchimp", "MailchimpDetector"),
    ("telegram_token", "TelegramBotTokenDetector"),
    ("discord", "DiscordBotTokenDetector"),
    ("azure_storage_key", "AzureStorageKeyDetector"),
    ("artifactory", "ArtifactoryDetector"),
    ("cloudant", "CloudantDetector"),
    ("softlayer", "SoftlayerDetector"),
    ("ibm_cos_hmac", "IbmCosHmacDetector"),
    ("ibm_cloud_iam", "IbmCloudIamDetector"),
    ("jwt", "JwtTokenDetector"),
    ("basic_auth", "BasicAuthDetector"),
)  # fmt: skip

_OURS: tuple[tuple[str, str], ...] = (
    ("GitHub Token", r"github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59}"),
    ("OpenAI Token", r"sk-(?:proj|svcacct|admin)-[A-Za-z0-9_-]{40,200}"),
    ("Anthropic API Key", r"sk-ant-[a-z]+\d\d-[A-Za-z0-9_-]{80,120}"),
    ("Google API Key", r"AIza[0-9A-Za-z_-]{35}"),
    ("Hugging Face Token", r"hf_[A-Za-z0-9]{34}"),
    ("NPM tokens", r"npm_[A-Za-z0-9]{36}"),
)

_LITERALS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "artifactory": ("AKC", "AP"),
        "basic_auth": ("://",),
        "discord": (".",),
        "mailchimp": ("-us",),
        "npm": ("_authToken",),
        "telegram_token": (":",),
        "jwt": ("eyJ",),
    }
)
"""Without one of these a detector has nothing to find; some search long for it."""

# A group as long as this is the credential; a shorter one is a part that the pattern needed to name.
_GROUP_IS_SECRET = 20
_JWT_REST = re.compile(r"[\w.+/=-]*")
_TRIMMED = ' \t\r\n=:"'


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of credential. `kind` as detect-secrets names it; `needs`: literals, one of which is there."""

    name: str
    kind: str
    patterns: tuple[re.Pattern[str], ...]
    needs: tuple[str, ...] = ()
    valid: Callable[[str], bool] | None = None

    @property
    def rule(self) -> str:
        """The rule's name ("secret/aws-access-key")."""
        return secret_rule(self.kind)

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """Where credentials of this kind stand, as code points [start, end). No match crosses a line."""
        if self.needs and not any(literal in text for literal in self.needs):
            return
        for pattern in self.patterns:
            for match in pattern.finditer(text):
                if self.valid is not None and not self.valid(match[0]):
                    continue
                start, end = self._secret(match)
                if not _is_part_of_a_word(text, start, end):
                    yield start, end

    def _secret(self, match: re.Match[str]) -> tuple[int, int]:
        if self.name == "basic_auth":
            return match.span(1)
        if self.name == "jwt":  # the pattern stops at the signature, which is what makes it a credential
            rest = _JWT_REST.match(match.string, match.end())
            return match.start(), rest.end() if rest else match.end()
        groups = [match.span(number) for number in range(1, match.re.groups + 1)]
        start, end = max(groups, key=lambda span: span[1] - span[0], default=(0, 0))
        if end - start < _GROUP_IS_SECRET:
            start, end = match.span()
        while start < end and match.string[start] in _TRIMMED:
            start += 1
        while start < end and match.string[end - 1] in _TRIMMED:
            end -= 1
        return start, end


@cache
def detectors() -> tuple[Detector, ...]:
    """All of them, those that say most about what they found first."""
    return (*_from_plugins(), *(Detector("ours", kind, (re.compile(p),)) for kind, p in _OURS))


def _from_plugins() -> Iterator[Detector]:
    for module, name in _PLUGINS:
        plugin = getattr(import_module(f"detect_secrets.plugins.{module}"), name)
        patterns: Iterable[re.Pattern[str]] = plugin.denylist
        yield Detector(
            module,
            plugin.secret_type,
            tuple(patterns),
            _LITERALS.get(module, ()),
            getattr(plugin, "is_formally_valid", None),
        )


def _is_part_of_a_word(text: str, start: int, end: int) -> bool:
    """Base64 and minified code hold most short prefixes somewhere: a credential stands by itself."""
    before, after = text[start - 1 : start], text[end : end + 1]
    inside = (before.isalnum() and text[start].isalnum()) or (after.isalnum() and text[end - 1].isalnum())
    return inside or "+" in (before, after)
