#!/usr/bin/env python3
"""Makes MODEL_ZOO.md of projects/vtn/zoo.yaml; ``--check`` says whether it is up to date."""

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# The zoo of this checkout, whatever is installed.
sys.path[:0] = [str(ROOT), str(ROOT / "projects" / "vtn")]

from slowfast.files import write_text  # noqa: E402
from vtn.publishing.zoo import read_zoo, render_zoo  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 when it is stale")
    args = parser.parse_args()
    page, text = ROOT / "MODEL_ZOO.md", render_zoo(read_zoo())
    if not args.check:
        write_text(page, text)
    elif not page.is_file() or page.read_text(encoding="utf-8") != text:
        print("MODEL_ZOO.md is stale; run: python tools/model_zoo.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
