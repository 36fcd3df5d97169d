"""Every change of the models against every verdict on models: does it turn those that it names?

``python tests/campaigns/mutations.py``, some minutes on one core. Prints one line for each change
that turns other verdicts than ``reports/papers/mutations.yaml`` says, and one of figures.
"""

import sys

from reports.papers.bench import AS_IS
from reports.papers.build import PAPERS
from reports.papers.gate import judged_on, mutations, turned_by


def main() -> int:
    """Run all changes; 1 if any turns what it should not, or does not turn what it should."""
    before = judged_on(AS_IS, PAPERS)
    turned: set[str] = set()
    wrong = 0
    for mutation in mutations():
        found = set(turned_by(mutation, PAPERS, before))
        turned |= found
        for what, names in (
            ("does not turn", {*mutation.turns} - found),
            ("turns too", found - {*mutation.turns}),
        ):
            wrong += len(names)
            for name in sorted(names):
                print(f"{mutation.name}: {what} {name}")
    print(
        f"{len(mutations())} changes, {len(before)} statements about models: {len(turned)} turn, "
        f"{len(before) - len(turned)} are one-sided; {wrong} unlike the file"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
