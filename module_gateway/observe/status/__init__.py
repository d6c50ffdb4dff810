"""`module-gateway status`: a running gateway on one screen, and what is wrong with it."""
