"""`deltaloom rules`: which weaknesses are looked for, and what is known of one of them.

Invariant: starts nothing and reads no workspace.
"""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("rule", nargs="?", metavar="RULE", help='one rule, by any of its names ("B602")')
    parser.add_argument("--markdown", action="store_true", help="print docs/rules.md")


def run(arguments: argparse.Namespace) -> int:
    """Exit status 2 for a rule that there isn't."""
    from deltaloom_server.security.rules import page

    if arguments.rule is None:
        sys.stdout.write(page.page() if arguments.markdown else page.listing())
        return 0
    told = page.explain(arguments.rule)
    if told is None:
        print(f"deltaloom: There is no rule {arguments.rule!r}; deltaloom rules lists all.", file=sys.stderr)
        return 2
    sys.stdout.write(told)
    return 0
