"""Looking at a running gateway from outside: tap, status and bundle.

Nothing here is a peer of the gateway: it subscribes, reads files and asks what every process
answers anyway. The processes do not import it.
"""
