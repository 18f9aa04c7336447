"""A `llama-server` small enough to be read, and a day of edits over forty files of a few words each."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

_FAKE = '''\
#!{python}
"""Answers as llama.cpp's server does: a token a character, and the last prompt kept."""
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer

arguments = sys.argv[1:]
mode = open(arguments[arguments.index("-m") + 1]).read().strip()
port = int(arguments[arguments.index("--port") + 1])
room = int(arguments[arguments.index("-c") + 1])
with open(arguments[arguments.index("-m") + 1] + ".pids", "a") as pids:
    pids.write(f"{{os.getpid()}}\\n")
print("loading", flush=True)
if mode == "dies at once":
    sys.exit("the model is damaged")


class Handler(BaseHTTPRequestHandler):
    held = ""
    asked = 0

    def do_GET(self):
        ready = self.path == "/health" and mode != "never ready"
        self.answer(200 if ready else 503, {{"status": "ok" if ready else "loading model"}})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        Handler.asked += 1
        if mode == "dies later" and Handler.asked == 3:
            print("out of memory", flush=True)
            os._exit(9)
        prompt = body["prompt"]
        if len(prompt) > room * 5:
            self.answer(400, {{"error": {{"message": "the prompt exceeds the context"}}}})
            return
        assert body["n_predict"] == 1 and self.path == "/completion"
        shared = len(os.path.commonprefix((Handler.held, prompt))) if body["cache_prompt"] else 0
        Handler.held = prompt
        if mode == "has no timings":
            self.answer(200, {{"content": "x"}})
            return
        timings = {{"prompt_n": max(1, len(prompt) - shared), "prompt_ms": 1.5}}
        self.answer(200, {{"content": "x", "timings": timings, "tokens_evaluated": len(prompt)}})

    def answer(self, status, tree):
        data = json.dumps(tree).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


HTTPServer(("127.0.0.1", port), Handler).serve_forever()
'''


@pytest.fixture
def llama_program(tmp_path: Path) -> Path:
    """A program that serves as llama-server does. Its "model" is a text file that says how it behaves; it
    writes its process number into `<model>.pids`."""
    program = tmp_path / "llama-server"
    program.write_text(_FAKE.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return program


@pytest.fixture
def forty_files() -> dict[str, str]:
    """Forty small modules with classes, functions and blank lines, each different."""
    return {f"pkg/part_{number:02}.py": _module(number) for number in range(1, 41)}


def _module(number: int) -> str:
    functions = "".join(
        f"\n\ndef step_{number}_{part}(width: int) -> str:\n"
        f'    """Step {part} of part {number}."""\n'
        f'    text = "{number}:{part}"\n'
        f"    return text.rjust(width)\n"
        for part in range(6)
    )
    return f'"""Part {number}."""\n\nimport sys\n{functions}'
