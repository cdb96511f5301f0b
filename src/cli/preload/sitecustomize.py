# Written by otas-proxy. aiohttp uses the proxy of the environment: its `trust_env` is True unless a program sets it.
# If anything here fails, the program runs as without it.

import sys


class _Finder:
    """Sees aiohttp.client being imported, and changes one default once it is."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name != "aiohttp.client":
            return None
        try:
            sys.meta_path.remove(cls)
            from importlib.util import find_spec

            spec = find_spec(name)
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                _trust_environment(module)

            spec.loader.exec_module = exec_module
            return spec
        except Exception:
            return None


def _trust_environment(module):
    try:
        defaults = module.ClientSession.__init__.__kwdefaults__
        if defaults.get("trust_env") is False:
            defaults["trust_env"] = True
    except Exception:
        pass


def _others():
    """The sitecustomize that Python would have found without this one."""
    try:
        import os
        from importlib.machinery import PathFinder

        own = os.path.dirname(os.path.realpath(__file__))
        return PathFinder.find_spec("sitecustomize", [p for p in sys.path if os.path.realpath(p) != own])
    except Exception:
        return None


if sys.version_info[0] >= 3:
    sys.meta_path.insert(0, _Finder)
_spec = _others()
if _spec is not None and _spec.loader is not None:
    from importlib.util import module_from_spec

    # Python reports its exceptions as usual.
    _module = module_from_spec(_spec)
    sys.modules["sitecustomize"] = _module
    _spec.loader.exec_module(_module)
