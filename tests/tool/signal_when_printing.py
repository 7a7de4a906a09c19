#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs a command and sends it a signal as soon as it has printed some text, however slow the machine is.

signal_when_printing.py SIGNAL COMMAND...: the exit status is the command's.
"""

import signal
import subprocess
import sys

child = subprocess.Popen(sys.argv[2:], stdout=subprocess.PIPE)
text = child.stdout.read(16)  # more than the prompt
child.send_signal(getattr(signal, "SIG" + sys.argv[1]))
sys.stdout.buffer.write(text + child.stdout.read())
sys.exit(child.wait() % 256)
