"""Tell a forked worker that it would wait forever, instead of letting it wait."""

import os
import sys

from mi_classifier.errors import UserError

_parent: list[int] = []  # in a forked child: the process in which JAX had started


def check() -> None:
    """Refuse to compute in a process that was forked after JAX had started.

    JAX computes in threads, which a forked process lacks.
    """
    if _parent:
        raise UserError(
            f"this process, {os.getpid()}, was forked from {_parent[0]}, in which JAX "
            "had started; it would wait forever; start workers by 'spawn', as in "
            "ProcessPoolExecutor(mp_context=multiprocessing.get_context('spawn'))"
        )


def _note() -> None:
    # Importing JAX starts no threads; its first computation does.
    bridge = sys.modules.get("jax._src.xla_bridge")
    if not _parent and getattr(bridge, "_backends", None):
        _parent[:] = [os.getppid()]


def watch() -> None:
    """Note forks from now on; `import mi_classifier` calls this."""
    if hasattr(os, "register_at_fork"):  # Windows has no forks
        os.register_at_fork(after_in_child=_note)
