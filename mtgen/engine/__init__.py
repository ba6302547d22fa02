"""How the trunk runs fast on a CPU: packed weights, a key/value cache, one forward step."""

from mtgen.engine.cache import KVCache
from mtgen.engine.runtime import LlamaRuntime, Runtime

__all__ = ["KVCache", "LlamaRuntime", "Runtime"]
