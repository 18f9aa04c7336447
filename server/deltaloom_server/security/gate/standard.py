"""What the standard library holds: its modules, and the names in those that fixes draw on.

Invariant: only modules of the list below are ever imported, and only from the interpreter's own folders, so
that a `secrets.py` in a workspace never runs. Of other modules no name is judged.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import ModuleType

from .words import words

_GONE_OR_NEW = words(
    "aifc asynchat asyncore audioop cgi cgitb chunk crypt distutils imghdr imp lib2to3 mailcap msilib"
    " nis nntplib ossaudiodev pipes smtpd sndhdr spwd sunau telnetlib uu xdrlib compression"
    " annotationlib"
)
"""Removed by Python 3.12, 3.13 or 3.14, or newer than 3.11: not there everywhere."""

_LOOKED_INTO = words(
    "abc ast asyncio asyncio.subprocess base64 binascii bisect codecs collections collections.abc"
    " concurrent.futures configparser contextlib copy csv dataclasses datetime decimal email enum"
    " errno fnmatch fractions functools getpass glob gzip hashlib heapq hmac html html.parser http"
    " http.client http.cookies inspect io ipaddress itertools json json.decoder locale logging"
    " logging.config logging.handlers math mimetypes netrc numbers operator os os.path pathlib"
    " platform posixpath pprint queue random re secrets selectors shlex shutil signal smtplib socket"
    " socketserver ssl stat statistics string struct subprocess sys tarfile tempfile textwrap"
    " threading time traceback types typing unicodedata urllib urllib.error urllib.parse"
    " urllib.request uuid warnings weakref xml xml.dom xml.dom.minidom xml.etree xml.etree.ElementTree"
    " xml.sax xml.sax.saxutils zipfile zlib tomllib sqlite3"
)


def is_standard(module: str) -> bool:
    """Is a (dotted) module of the standard library, in every Python from 3.11 on?"""
    root = module.partition(".")[0]
    return root in sys.stdlib_module_names and root not in _GONE_OR_NEW


def missing_attribute(dotted: str) -> str:
    """The first part of a name that isn't there ("secrets.choose"); "" where all are, or nobody can tell."""
    parts = dotted.split(".")
    module, count = None, 0
    for count in range(len(parts), 0, -1):
        module = _load(".".join(parts[:count]))
        if module is not None:
            break
    if module is None:
        return "" if len(parts) == 1 or parts[0] not in _LOOKED_INTO else dotted
    value: object = module
    for number in range(count, len(parts)):
        if isinstance(value, (ModuleType, type)):
            if not hasattr(value, parts[number]) and not _is_module(".".join(parts[: number + 1])):
                return ".".join(parts[: number + 1])
            value = getattr(value, parts[number], None)
        else:
            return ""
    return ""


def _is_module(name: str) -> bool:
    """A submodule that isn't loaded yet. Looking for one imports its parent, which the list must allow."""
    if name.rpartition(".")[0] not in _LOOKED_INTO:
        return False
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


@cache
def _load(name: str) -> ModuleType | None:
    if name not in _LOOKED_INTO or not _is_interpreters(name.partition(".")[0]):
        return None
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _is_interpreters(root: str) -> bool:
    """Would importing take the interpreter's own module?"""
    loaded = sys.modules.get(root)
    try:
        spec = loaded.__spec__ if loaded is not None else importlib.util.find_spec(root)
    except (ImportError, ValueError):
        return False
    if spec is None or spec.origin is None:
        return False
    if spec.origin in ("built-in", "frozen"):
        return True
    folders = [Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")]
    origin = Path(spec.origin).resolve()
    return any(folder in origin.parents for folder in folders) and "site-packages" not in origin.parts
