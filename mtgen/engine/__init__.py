"""How the trunk runs fast on a CPU: packed weights, a key/value cache, one forward step."""

from mtgen.engine.runtime import KVCache, LlamaRuntime, Runtime

__all__ = ["KVCache", "LlamaRuntime", "Runtime"]
