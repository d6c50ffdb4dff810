"""Run the whole gateway on this machine: `python3 run_all.py --help`."""

import sys

try:
    from module_gateway.runtime.run import main
except ModuleNotFoundError as missing:
    if str(missing.name).startswith("module_gateway"):
        raise
    sys.exit(f"{missing.name} is not installed for this Python. Type: make run")

if __name__ == "__main__":
    sys.exit(main())
