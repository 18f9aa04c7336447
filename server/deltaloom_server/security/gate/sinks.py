"""Which callables and which keywords scanners look for. Tables only.

Invariant: a name here is spelled as an import gives it; a builtin is spelled bare.
"""

from __future__ import annotations

from .words import words

PROCESSES = words(
    "subprocess.run subprocess.call subprocess.check_call subprocess.check_output subprocess.Popen"
    " subprocess.getoutput subprocess.getstatusoutput os.system os.popen os.execl os.execle os.execlp"
    " os.execlpe os.execv os.execve os.execvp os.execvpe os.spawnl os.spawnle os.spawnlp os.spawnlpe"
    " os.spawnv os.spawnve os.spawnvp os.spawnvpe os.posix_spawn os.posix_spawnp os.startfile os.fork"
    " popen2.popen2 popen2.popen3 popen2.popen4 commands.getoutput commands.getstatusoutput pty.spawn"
    " asyncio.create_subprocess_exec asyncio.create_subprocess_shell"
    " asyncio.subprocess.create_subprocess_exec asyncio.subprocess.create_subprocess_shell"
    " multiprocessing.Process"
)

SHELLS = words("sh bash zsh dash ksh fish cmd cmd.exe powershell powershell.exe pwsh env busybox")

EVALUATORS = words("eval exec compile builtins.eval builtins.exec builtins.compile")

UNPICKLERS = frozenset(
    f"{module}.{name}"
    for module in (
        "pickle",
        "cPickle",
        "_pickle",
        "dill",
        "cloudpickle",
        "jsonpickle",
        "joblib",
        "pandas",
        "shelve",
        "marshal",
    )
    for name in ("load", "loads", "Unpickler", "decode", "unpickle.decode", "read_pickle", "open")
)

WEAK_HASHES = words("md2 md4 md5 sha sha1 ripemd160 md5-sha1")

HASHES = words(
    "sha224 sha256 sha384 sha512 sha3_224 sha3_256 sha3_384 sha3_512 blake2b blake2s shake_128"
    " shake_256 sha512_256 sm3"
)

RANDOM = frozenset(
    f"random.{name}"
    for name in words(
        "random randint randrange choice choices sample shuffle uniform getrandbits randbytes triangular"
        " Random gauss normalvariate betavariate"
    )
)

XML = frozenset(
    f"{module}.{name}"
    for module in (
        "xml.etree.ElementTree",
        "xml.etree.cElementTree",
        "xml.dom.minidom",
        "xml.dom.pulldom",
        "xml.sax",
        "xml.dom.expatbuilder",
        "xml.sax.expatreader",
        "lxml.etree",
    )
    for name in (
        "parse",
        "fromstring",
        "fromstringlist",
        "iterparse",
        "XML",
        "XMLParser",
        "parseString",
        "make_parser",
        "create_parser",
        "XMLTreeBuilder",
        "XMLID",
        "HTML",
    )
) | {"xmlrpc.client.ServerProxy", "xmlrpc.server.SimpleXMLRPCServer"}

NETWORK = frozenset(
    f"{module}.{name}"
    for module in ("requests", "httpx", "urllib3", "aiohttp")
    for name in (
        "get",
        "post",
        "put",
        "patch",
        "delete",
        "head",
        "options",
        "request",
        "stream",
        "Session",
        "Client",
        "AsyncClient",
        "ClientSession",
        "PoolManager",
    )
) | words(
    "urllib.request.urlopen urllib.request.urlretrieve urllib.request.build_opener socket.socket"
    " socket.create_connection http.client.HTTPConnection http.client.HTTPSConnection ftplib.FTP"
    " ftplib.FTP_TLS telnetlib.Telnet smtplib.SMTP smtplib.SMTP_SSL paramiko.SSHClient webbrowser.open"
    " xmlrpc.client.ServerProxy asyncio.open_connection"
)

DELETES = words(
    "os.remove os.unlink os.rmdir os.removedirs shutil.rmtree shutil.move os.rename os.replace"
    " os.truncate os.kill os.killpg"
)

DELETING_METHODS = frozenset(["unlink", "rmdir", "rmtree"])

SINKS = (
    PROCESSES
    | EVALUATORS
    | UNPICKLERS
    | RANDOM
    | XML
    | NETWORK
    | DELETES
    | {f"hashlib.{name}" for name in WEAK_HASHES | {"new"}}
    | words(
        "yaml.load yaml.load_all yaml.unsafe_load yaml.unsafe_load_all yaml.full_load yaml.full_load_all"
        " tempfile.mktemp os.tempnam os.tmpnam ssl._create_unverified_context ssl.wrap_socket torch.load"
        " tarfile.open zipfile.ZipFile os.chmod open jinja2.Environment jinja2.Template"
        " mako.template.Template django.utils.safestring.mark_safe markupsafe.Markup flask.Markup"
        " flask.send_file flask.redirect flask.render_template_string logging.config.listen"
    )
)
"""A reference to one of these that isn't a call of it hides it from scanners."""

FLAGS = words(
    "shell verify debug autoescape usedforsecurity weights_only check_hostname Loader filter"
    " resolve_entities no_network load_dtd trust_remote_code cert_reqs ssl_version verify_mode ssl"
    " verify_ssl httponly secure allow_pickle algorithms use_reloader revision strict tls_version"
    " minimum_version"
)
"""Keywords (and attributes) whose value scanners look at, so that it has to stand there."""

PROTECTIONS = words(
    "verify check_hostname verify_mode cert_reqs verify_ssl ssl secure httponly weights_only"
    " autoescape no_network"
)
"""Keywords and attributes that a fix never turns off."""

DANGERS = words("debug shell trust_remote_code allow_pickle resolve_entities load_dtd use_debugger")
"""Keywords and attributes that a fix never turns on."""

DYNAMIC = words(
    "getattr setattr delattr __import__ globals locals vars eval exec compile breakpoint"
    " importlib.import_module importlib.reload importlib.util.module_from_spec"
    " importlib.util.spec_from_file_location functools.partial functools.partialmethod"
    " operator.attrgetter operator.methodcaller operator.itemgetter runpy.run_module runpy.run_path"
    " types.FunctionType types.CodeType types.MethodType code.interact sys.settrace sys.setprofile"
    " sys._getframe inspect.getmodule inspect.currentframe functools.reduce map filter atexit.register"
    " threading.Thread threading.Timer"
)
"""Ways to call what a scanner doesn't see called."""

ONLY_WITH_A_SINK = words(
    "map filter functools.reduce operator.itemgetter atexit.register threading.Thread threading.Timer"
)

HIDDEN_NAMES = words(
    "__builtins__ __globals__ __dict__ __getattribute__ __getattr__ __subclasses__ __class__"
    " __bases__ __mro__ __loader__ __code__ __wrapped__ __call__ __func__ __self__ __import__ modules"
    " f_globals f_locals f_builtins gi_frame cr_frame tb_frame"
)
