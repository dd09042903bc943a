"""Command-line entry points, one file per command."""

import sys

if sys.platform == "win32":
    sys.exit("slowfast-vtn runs on Linux and macOS; on Windows, install and run it in WSL: wsl --install")
