"""Run the external client alone: `python3 run_external_client.py --help`."""

import sys

try:
    from module_gateway.external_client.app import main
except ModuleNotFoundError as missing:
    if str(missing.name).startswith("module_gateway"):
        raise
    sys.exit(
        f"{missing.name} is not installed for this Python. Type: make setup\n"
        "and then: .venv/bin/python run_external_client.py (or make run for everything)"
    )

if __name__ == "__main__":
    sys.exit(main())
