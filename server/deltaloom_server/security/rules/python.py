"""The rules of ruff's S family and of bandit, graded by us.

Invariant: one row for every S rule that ruff knows and every test that bandit has; a number that both have
means the same thing and is one row. Titles are our own words; CWE numbers are the most precise ones that fit,
not always those that the scanners name.

A rule is "low" where it says that something *can* be wrong but most places that it marks are fine.
"""

from __future__ import annotations

from deltaloom_server.security.finding import Confidence, Severity
from deltaloom_server.security.rules.info import RuleInfo, Varies, cwe_url

_PYTHON = ("python",)


def _both(
    number: int,
    ruff: str,
    bandit: str,
    severity: Severity,
    confidence: Confidence,
    cwe: int,
    title: str,
    varies: Varies = "",
) -> RuleInfo:
    """A rule that ruff has; `bandit` is "" where bandit has none of this number."""
    return RuleInfo(
        rule=f"S{number}",
        title=title,
        severity=severity,
        confidence=confidence,
        cwe=cwe,
        help_url=f"https://docs.astral.sh/ruff/rules/{ruff}/",
        languages=_PYTHON,
        names=(f"S{number}", ruff, *((f"B{number}", bandit) if bandit else ())),
        varies=varies,
    )


def _bandit(number: int, page: str, name: str, severity: Severity, cwe: int, title: str) -> RuleInfo:
    """A test that only bandit has."""
    return RuleInfo(
        rule=f"B{number}",
        title=title,
        severity=severity,
        confidence="medium",
        cwe=cwe,
        help_url=f"https://bandit.readthedocs.io/en/1.9.4/plugins/{page}.html" if page else cwe_url(cwe),
        languages=_PYTHON,
        names=(f"B{number}", name),
    )


# fmt: off
RULES: tuple[RuleInfo, ...] = (
    # -- 1xx: what stands in the code ----------------------------------------------------------------------
    _both(101, "assert", "assert_used", "low", "high", 617, "Assertion that `python -O` removes"),
    _both(102, "exec-builtin", "exec_used", "high", "high", 94, "Text run as code by exec"),
    _both(103, "bad-file-permissions", "set_bad_file_permissions", "high", "high", 732,
          "File made writable or executable for others", "severity"),
    _both(104, "hardcoded-bind-all-interfaces", "hardcoded_bind_all_interfaces", "medium", "medium", 1327,
          "Service offered on every network interface"),
    _both(105, "hardcoded-password-string", "hardcoded_password_string", "medium", "medium", 259,
          "Password written into the code"),
    _both(106, "hardcoded-password-func-arg", "hardcoded_password_funcarg", "medium", "medium", 259,
          "Password written into a call"),
    _both(107, "hardcoded-password-default", "hardcoded_password_default", "medium", "medium", 259,
          "Password as a parameter's default"),
    _both(108, "hardcoded-temp-file", "hardcoded_tmp_directory", "medium", "medium", 379,
          "Predictable path in a folder that everybody may write to"),
    _both(110, "try-except-pass", "try_except_pass", "low", "high", 703, "Every error is swallowed"),
    _both(112, "try-except-continue", "try_except_continue", "low", "high", 703,
          "Every error in a loop is swallowed"),
    _both(113, "request-without-timeout", "request_without_timeout", "medium", "high", 400,
          "HTTP request that may wait for ever"),
    # -- 2xx: frameworks -----------------------------------------------------------------------------------
    _both(201, "flask-debug-true", "flask_debug_true", "high", "medium", 489,
          "Flask started with its debugger, which runs code for whoever reaches it"),
    _both(202, "tarfile-unsafe-members", "tarfile_unsafe_members", "high", "high", 22,
          "Archive unpacked without checking where its members land", "both"),
    # -- 3xx: calls ----------------------------------------------------------------------------------------
    _both(301, "suspicious-pickle-usage", "pickle", "high", "medium", 502,
          "Pickled data loaded: it may run any code"),
    _both(302, "suspicious-marshal-usage", "marshal", "high", "medium", 502,
          "Marshalled data loaded: it may crash or run code"),
    _both(303, "suspicious-insecure-hash-usage", "md5", "medium", "high", 328, "Broken hash function"),
    _both(304, "suspicious-insecure-cipher-usage", "ciphers", "high", "high", 327, "Broken cipher"),
    _both(305, "suspicious-insecure-cipher-mode-usage", "cipher_modes", "medium", "high", 327,
          "Cipher in a mode that shows patterns of the plain text"),
    _both(306, "suspicious-mktemp-usage", "mktemp_q", "medium", "high", 377,
          "Temporary name that another process can take first"),
    _both(307, "suspicious-eval-usage", "eval", "high", "medium", 95, "Text evaluated as code"),
    _both(308, "suspicious-mark-safe-usage", "mark_safe", "medium", "medium", 79,
          "Text declared to be safe HTML"),
    _both(310, "suspicious-url-open-usage", "urllib_urlopen", "medium", "medium", 918,
          "URL opened whatever its scheme, `file:` included"),
    _both(311, "suspicious-non-cryptographic-random-usage", "random", "low", "medium", 338,
          "Random number that can be foretold"),
    _both(312, "suspicious-telnet-usage", "telnetlib", "high", "high", 319, "Telnet sends all in clear text"),
    _both(313, "suspicious-xmlc-element-tree-usage", "xml_bad_cElementTree", "medium", "medium", 776,
          "XML parsed with entities that may grow without bound"),
    _both(314, "suspicious-xml-element-tree-usage", "xml_bad_ElementTree", "medium", "medium", 776,
          "XML parsed with entities that may grow without bound"),
    _both(315, "suspicious-xml-expat-reader-usage", "xml_bad_expatreader", "medium", "medium", 611,
          "XML parsed with entities that may name files"),
    _both(316, "suspicious-xml-expat-builder-usage", "xml_bad_expatbuilder", "medium", "medium", 776,
          "XML parsed with entities that may grow without bound"),
    _both(317, "suspicious-xml-sax-usage", "xml_bad_sax", "medium", "medium", 611,
          "XML parsed with entities that may name files"),
    _both(318, "suspicious-xml-mini-dom-usage", "xml_bad_minidom", "medium", "medium", 776,
          "XML parsed with entities that may grow without bound"),
    _both(319, "suspicious-xml-pull-dom-usage", "xml_bad_pulldom", "medium", "medium", 611,
          "XML parsed with entities that may name files"),
    _both(320, "suspicious-xmle-tree-usage", "", "medium", "medium", 611,
          "XML parsed with entities that may name files"),
    _both(321, "suspicious-ftp-lib-usage", "ftplib", "medium", "high", 319,
          "FTP sends passwords and files in clear text"),
    _both(323, "suspicious-unverified-context-usage", "unverified_context", "high", "high", 295,
          "TLS without checking the certificate"),
    _both(324, "hashlib-insecure-hash-function", "hashlib_insecure_functions", "medium", "high", 328,
          "Broken hash function"),
    # -- 4xx: imports --------------------------------------------------------------------------------------
    _both(401, "suspicious-telnetlib-import", "import_telnetlib", "low", "high", 319,
          "telnetlib is imported"),
    _both(402, "suspicious-ftplib-import", "import_ftplib", "low", "high", 319, "ftplib is imported"),
    _both(403, "suspicious-pickle-import", "import_pickle", "low", "high", 502,
          "A module is imported that loads pickled data"),
    _both(404, "suspicious-subprocess-import", "import_subprocess", "low", "high", 78,
          "subprocess is imported"),
    _both(405, "suspicious-xml-etree-import", "import_xml_etree", "low", "high", 776,
          "xml.etree is imported"),
    _both(406, "suspicious-xml-sax-import", "import_xml_sax", "low", "high", 611, "xml.sax is imported"),
    _both(407, "suspicious-xml-expat-import", "import_xml_expat", "low", "high", 776,
          "xml.dom.expatbuilder is imported"),
    _both(408, "suspicious-xml-minidom-import", "import_xml_minidom", "low", "high", 776,
          "xml.dom.minidom is imported"),
    _both(409, "suspicious-xml-pulldom-import", "import_xml_pulldom", "low", "high", 611,
          "xml.dom.pulldom is imported"),
    _both(410, "suspicious-lxml-import", "", "low", "high", 611, "lxml is imported"),
    _both(411, "suspicious-xmlrpc-import", "import_xmlrpclib", "low", "high", 776, "xmlrpc is imported"),
    _both(412, "suspicious-httpoxy-import", "import_httpoxy", "medium", "high", 454,
          "CGI lets a request's headers set the proxy"),
    _both(413, "suspicious-pycrypto-import", "import_pycrypto", "medium", "high", 1104,
          "PyCrypto is no longer maintained and has known holes"),
    _both(415, "suspicious-pyghmi-import", "import_pyghmi", "medium", "high", 319,
          "IPMI sends in clear text"),
    # -- 5xx: cryptography and certificates ----------------------------------------------------------------
    _both(501, "request-with-no-cert-validation", "request_with_no_cert_validation", "high", "high", 295,
          "TLS without checking the certificate"),
    _both(502, "ssl-insecure-version", "ssl_with_bad_version", "high", "high", 327,
          "TLS version that is broken", "both"),
    _both(503, "ssl-with-bad-defaults", "ssl_with_bad_defaults", "medium", "medium", 327,
          "TLS version that is broken, as a default"),
    _both(504, "ssl-with-no-version", "ssl_with_no_version", "medium", "medium", 327,
          "TLS without a lowest version"),
    _both(505, "weak-cryptographic-key", "weak_cryptographic_key", "high", "high", 326,
          "Cryptographic key that is too short", "severity"),
    _both(506, "unsafe-yaml-load", "yaml_load", "high", "high", 502,
          "YAML loaded with a loader that makes any object"),
    _both(507, "ssh-no-host-key-verification", "ssh_no_host_key_verification", "high", "medium", 322,
          "SSH to any host, whatever its key"),
    _both(508, "snmp-insecure-version", "snmp_insecure_version", "medium", "high", 319,
          "SNMP version that sends in clear text"),
    _both(509, "snmp-weak-cryptography", "snmp_weak_cryptography", "medium", "high", 319,
          "SNMPv3 without encryption"),
    # -- 6xx: injection ------------------------------------------------------------------------------------
    _both(601, "paramiko-call", "paramiko_calls", "medium", "medium", 78,
          "Command run over SSH: its text goes through a shell"),
    _both(602, "subprocess-popen-with-shell-equals-true", "subprocess_popen_with_shell_equals_true", "high",
          "high", 78, "Command that goes through a shell", "severity"),
    _both(603, "subprocess-without-shell-equals-true", "subprocess_without_shell_equals_true", "low", "low",
          88, "Program started: where do its arguments come from?"),
    _both(604, "call-with-shell-equals-true", "any_other_function_with_shell_equals_true", "medium", "low",
          78, "Call with `shell=True`"),
    _both(605, "start-process-with-a-shell", "start_process_with_a_shell", "high", "high", 78,
          "Command that goes through a shell", "severity"),
    _both(606, "start-process-with-no-shell", "start_process_with_no_shell", "low", "medium", 88,
          "Program started: where do its arguments come from?"),
    _both(607, "start-process-with-partial-path", "start_process_with_partial_path", "low", "high", 426,
          "Program found by PATH, which others may set"),
    _both(608, "hardcoded-sql-expression", "hardcoded_sql_expressions", "high", "medium", 89,
          "SQL put together from pieces of text", "confidence"),
    _both(609, "unix-command-wildcard-injection", "linux_commands_wildcard_injection", "high", "medium", 155,
          "Wildcard that takes file names for options"),
    _both(610, "django-extra", "django_extra_used", "high", "medium", 89, "SQL passed to Django's extra()"),
    _both(611, "django-raw-sql", "django_rawsql_used", "high", "medium", 89,
          "SQL passed to Django's RawSQL"),
    _both(612, "logging-config-insecure-listen", "logging_config_insecure_listen", "medium", "high", 94,
          "Logging takes its configuration, and so code, from a socket"),
    # -- 7xx: templates ------------------------------------------------------------------------------------
    _both(701, "jinja2-autoescape-false", "jinja2_autoescape_false", "high", "high", 79,
          "Templates whose values aren't escaped", "confidence"),
    _both(702, "mako-templates", "use_of_mako_templates", "medium", "medium", 79,
          "Mako doesn't escape values by default"),
    _both(704, "unsafe-markup-use", "markupsafe_markup_xss", "medium", "high", 79,
          "Text declared to be safe HTML"),
    # -- bandit alone --------------------------------------------------------------------------------------
    _bandit(613, "b613_trojansource", "trojansource", "high", 1007,
            "Hidden characters that show code in another order than it runs"),
    _bandit(614, "b614_pytorch_load", "pytorch_load", "high", 502, "Model file loaded that may run any code"),
    _bandit(615, "b615_huggingface_unsafe_download", "huggingface_unsafe_download", "medium", 494,
            "Model downloaded without saying which revision"),
)
# fmt: on

ALSO: tuple[tuple[str, str], ...] = (("B703", "S308"), ("django_mark_safe", "S308"))
"""Names of tests that look for what another rule looks for."""
