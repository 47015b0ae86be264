"""The stand-in worker: speaks vLLM's HTTP and says in every answer that it is a stand-in."""
