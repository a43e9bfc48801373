#!/usr/bin/env bash
# What only a GPU can say, as one command that prints a table; see device_check.py. DEVICE_CHECK=tiny: on a processor.
set -euo pipefail
cd "$(dirname "$0")/.."
PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" exec python tests/device_check.py
