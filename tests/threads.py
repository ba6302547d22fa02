"""What tests do to threads."""

from __future__ import annotations

import ctypes
import threading


def kill(thread: threading.Thread) -> bool:
    """Lets a thread end where it is; whether it was there."""
    end = ctypes.pythonapi.PyThreadState_SetAsyncExc
    return end(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(SystemExit)) == 1
