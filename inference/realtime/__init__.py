"""Voice over WebSockets: what is said becomes text, text becomes sound, and a model between them.

Loaded with the first WebSocket: a gateway that never sees one pays nothing for it.
"""
