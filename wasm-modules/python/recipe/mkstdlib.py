"""Packs CPython's standard library as byte code, with the time zone database, into one reproducible zip.

usage: mkstdlib.py LIB ZONEINFO OUT.zip
"""
import os
import py_compile
import sys
import tempfile
import zipfile

lib, zoneinfo, target = sys.argv[1:]

# Tests, graphics, installers, and what only works with processes, sockets or native libraries that are not built.
SKIP_DIRECTORIES = {
    "__pycache__", "__phello__", "_pyrepl", "ctypes", "curses", "dbm", "distutils", "ensurepip", "idle_test", "idlelib",
    "lib2to3", "msilib", "multiprocessing", "pydoc_data", "site-packages", "sqlite3", "test", "tests", "tkinter",
    "turtledemo", "venv", "wsgiref", "xmlrpc",
}
SKIP_FILES = {
    "_aix_support.py", "_android_support.py", "_ios_support.py", "_osx_support.py", "antigravity.py", "cProfile.py",
    "doctest.py", "ftplib.py", "imaplib.py", "mailbox.py", "nturl2path.py", "poplib.py", "pty.py", "pydoc.py",
    "smtplib.py", "socketserver.py", "this.py", "tty.py", "turtle.py", "webbrowser.py",
}
EPOCH = (1980, 1, 1, 0, 0, 0)


def compiled(source, name):
    """Byte code that is never checked against its source, which is not shipped; names in tracebacks are those of /lib."""
    with tempfile.TemporaryDirectory() as scratch:
        out = os.path.join(scratch, "out.pyc")
        py_compile.compile(source, cfile=out, dfile="/lib/" + name, doraise=True,
                           invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)
        with open(out, "rb") as f:
            return f.read()


def modules():
    for directory, subdirectories, names in os.walk(lib):
        subdirectories[:] = sorted(d for d in subdirectories if d not in SKIP_DIRECTORIES)
        for name in sorted(names):
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, lib)
            if name.endswith(".py") and name not in SKIP_FILES:
                yield relative + "c", compiled(path, relative)
    # zoneinfo asks sysconfig for a search path, which needs the file that an installation generates.
    with tempfile.TemporaryDirectory() as scratch:
        name = "_sysconfigdata__wasi_wasm32-wasi.py"
        path = os.path.join(scratch, name)
        with open(path, "w") as f:
            f.write("build_time_vars = {}\n")
        yield name + "c", compiled(path, name)


def zones():
    for directory, subdirectories, names in os.walk(zoneinfo):
        if directory == zoneinfo:
            subdirectories[:] = [d for d in subdirectories if d not in ("posix", "right")]
        subdirectories.sort()
        for name in sorted(names):
            path = os.path.join(directory, name)
            with open(path, "rb") as f:
                data = f.read()
            if data.startswith(b"TZif"):
                yield "tzdata/" + os.path.relpath(path, zoneinfo), data


with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as z:
    for source in (modules(), zones()):
        for name, data in source:
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            z.writestr(info, data)
