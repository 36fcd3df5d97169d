"""Start of the ``nmsim`` command: what goes wrong while Python imports is told as any other."""

import gc
import signal
import sys

from nmsim.errors import NmsimError

__all__ = ["main"]


def main() -> None:
    """Run the command line, told of what goes wrong before it can tell so itself."""
    # Imports make objects that stay; to look for garbage among them takes a fifth of a command.
    gc.disable()
    try:
        from nmsim.cli import main as run  # noqa: PLC0415 - the import is what may be interrupted

        run()
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.stderr.write("nmsim: interrupted\n")
        sys.exit(130)
    except NmsimError as error:  # of the folders in which kinds of machine are looked for
        sys.stderr.write(f"nmsim: {error}\n")
        sys.exit(2)
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
