"""What was sent, answered and received, joined into one verdict (decisions.md, "Words")."""
