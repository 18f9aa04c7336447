"""S507: a client that trusts host keys it never saw talks to whoever answers first.

Invariant: the policy becomes paramiko's RejectPolicy; a client that loads no known hosts loads the user's.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from deltaloom_server.security.codemods import Case
from deltaloom_server.security.codemods.matching import find_call
from deltaloom_server.security.codemods.rewrite import Rewrite
from deltaloom_server.security.codemods.source import Source
from deltaloom_server.security.finding import Finding
from deltaloom_server.security.proposal import Proposal

RULES = ("S507",)

_TRUSTING = ("AutoAddPolicy", "WarningPolicy")


def propose(source: Source, finding: Finding) -> Iterator[Proposal]:
    call = find_call(source, finding, lambda one: _policy(source, one) is not None)
    policy = _policy(source, call) if call is not None else None
    if call is None or policy is None:
        return
    rewrite = Rewrite(source)
    if isinstance(policy, ast.Attribute):
        rewrite.replace_range(source.end(policy) - len(policy.attr), source.end(policy), "RejectPolicy")
    else:
        rewrite.replace(policy, rewrite.use(source.qualified(policy).rpartition(".")[0], "RejectPolicy"))
    assert isinstance(call.func, ast.Attribute)
    client = source.segment(call.func.value)
    simple = isinstance(call.func.value, ast.Name | ast.Attribute)
    if simple and not _loads_known_hosts(source) and isinstance(source.parents[call], ast.Expr):
        rewrite.insert_before(call, f"{client}.load_system_host_keys()")
    yield rewrite.proposal(
        "Refuse unknown host keys",
        unsafe=True,
        note="Only hosts in the user's known_hosts file are connected to; others raise SSHException.",
    )


def _policy(source: Source, call: ast.Call) -> ast.expr | None:
    """The name of a trusting policy, be the argument the class or an instance."""
    if not isinstance(call.func, ast.Attribute) or call.func.attr != "set_missing_host_key_policy":
        return None
    given = call.args[0] if call.args else call.keywords[0].value if call.keywords else None
    policy = given.func if isinstance(given, ast.Call) else given
    if policy is None:
        return None
    name = source.qualified(policy)
    return policy if name.startswith("paramiko.") and name.rpartition(".")[2] in _TRUSTING else None


def _loads_known_hosts(source: Source) -> bool:
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("load_system_host_keys", "load_host_keys")
        for node in ast.walk(source.tree)
    )


CASES = (
    Case(
        "import paramiko\n\n\ndef connect(host):\n    client = paramiko.SSHClient()\n"
        "    client.set_missing_host_key_policy(paramiko.AutoAddPolicy())\n    client.connect(host)\n",
        "import paramiko\n\n\ndef connect(host):\n    client = paramiko.SSHClient()\n"
        "    client.load_system_host_keys()\n"
        "    client.set_missing_host_key_policy(paramiko.RejectPolicy())\n    client.connect(host)\n",
        unsafe=True,
    ),
    Case(
        "from paramiko import SSHClient, WarningPolicy\n\nc = SSHClient()\nc.load_system_host_keys()\n"
        "c.set_missing_host_key_policy(WarningPolicy)\n",
        "from paramiko import SSHClient, WarningPolicy, RejectPolicy\n\nc = SSHClient()\n"
        "c.load_system_host_keys()\nc.set_missing_host_key_policy(RejectPolicy)\n",
        unsafe=True,
    ),
    Case(
        "import paramiko.client as pc\n\n\nclass A:\n    def go(self):\n"
        "        self.ssh.load_host_keys(KNOWN)\n"
        "        self.ssh.set_missing_host_key_policy(pc.AutoAddPolicy())\n",
        "import paramiko.client as pc\n\n\nclass A:\n    def go(self):\n"
        "        self.ssh.load_host_keys(KNOWN)\n"
        "        self.ssh.set_missing_host_key_policy(pc.RejectPolicy())\n",
        unsafe=True,
    ),
)
