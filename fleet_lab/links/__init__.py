"""The network of one virtual device: what it is like, and a shim that makes it so.

No root, no kernel modules: the bytes of one TCP connection are held back inside the process.
"""
