"""`module-gateway tap`: live messages, decoded, at the hop where they pass."""
