"""Start of the ``nmsim`` command: an interruption while Python imports is told as any other."""

import signal
import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line."""
    try:
        from nmsim.cli import main as run  # noqa: PLC0415 - the import is what may be interrupted

        run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write("nmsim: interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
