"""Where Python finds this, the process's clock is ahead by ``CLOCK_AHEAD`` seconds."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

import time_machine

time_machine.travel(datetime.now(UTC) + timedelta(seconds=float(os.environ["CLOCK_AHEAD"]))).start()
