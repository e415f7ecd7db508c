"""Python processes that begin with torch and transformers imported: a server imports them once, and forks.

Importing them takes 5 to 8 seconds. A process of its own is still needed where it is killed, has variables of its own,
or holds a lock.
"""

import gc
import importlib
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_IMPORTED = (
    "cli launch modeling_discipline selection.command runs.training runs.trainer prediction.inference "
    "publishing.cards publishing.publish study.command pretraining.pretrain report.write"
)
# Modules that read variables of the environment when they are imported.
_READ_AT_IMPORT = ("huggingface_hub.constants", "datasets.config")
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([f"hf_bertx.{name}" for name in _IMPORTED.split()])


def _run(argv: list[str], cwd: str, environment: dict[str, str], outputs: tuple[str, str]) -> None:
    gc.freeze()
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for name in _READ_AT_IMPORT:
        importlib.reload(sys.modules[name])
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path.insert(0, "" if argv[0].startswith("-") else str(Path(argv[0]).parent))
    if argv[0] == "-m":
        sys.argv = argv[1:]
        sys.modules.pop(argv[1], None)
        runpy.run_module(argv[1], run_name="__main__", alter_sys=True)
    elif argv[0] == "-c":
        sys.argv = ["-c", *argv[2:]]
        exec(compile(argv[1], "<string>", "exec"), {"__name__": "__main__"})
    else:
        sys.argv = argv
        runpy.run_path(argv[0], run_name="__main__")


class PythonProcess:
    """As `Popen([sys.executable, *argv])`; what it prints stands in files."""

    def __init__(self, *argv: Any, cwd: Any = ".", env: dict[str, str] | None = None) -> None:
        self.args = [str(word) for word in argv]
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = (f"{self._folder.name}/stdout", f"{self._folder.name}/stderr")
        given = (self.args, str(Path(cwd).resolve()), dict(os.environ if env is None else env), self._outputs)
        self._process = _CONTEXT.Process(target=_run, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def kill(self) -> None:
        self._process.kill()

    def wait(self, timeout: float | None = 300) -> subprocess.CompletedProcess:
        self._process.join(timeout)
        if self._process.exitcode is None:
            self.kill()
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        printed = [path.read_text() if path.exists() else "" for path in map(Path, self._outputs)]
        return subprocess.CompletedProcess(self.args, self._process.exitcode, *printed)


def run_python(*argv: Any, **settings: Any) -> subprocess.CompletedProcess:
    """As `subprocess.run([sys.executable, *argv], capture_output=True, text=True)`."""
    return PythonProcess(*argv, **settings).wait()
