"""Run the module handler alone: `python3 run_modules.py --help`."""

import sys

try:
    from module_gateway.module_handler.app import main
except ModuleNotFoundError as missing:
    if str(missing.name).startswith("module_gateway"):
        raise
    sys.exit(
        f"{missing.name} is not installed for this Python. Type: make setup\n"
        "and then: .venv/bin/python run_modules.py (or make run for everything)"
    )

if __name__ == "__main__":
    sys.exit(main())
