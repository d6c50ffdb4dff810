"""The page that the control plane shows: three static files, nothing from elsewhere."""
