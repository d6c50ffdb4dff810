"""`python -m fleet_lab` is `fleet-lab`."""

import sys

from fleet_lab.cli import main

sys.exit(main())
