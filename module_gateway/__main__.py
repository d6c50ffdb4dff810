"""`python -m module_gateway` is `module-gateway`."""

import sys

from module_gateway.cli import main

sys.exit(main())
