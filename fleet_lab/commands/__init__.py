"""The commands of `fleet-lab`, one file per group."""
