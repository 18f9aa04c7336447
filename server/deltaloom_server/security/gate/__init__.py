"""The gate: what a fix may never do, and whether one has done it.

Invariant: nothing is offered that this package has not accepted; it is called inside the analysis process.

    judging     a fix of a finding: all the rules, in the order of their cost
    checking    code that was written for no finding
    comments    the removal of an unused suppression
    other       languages other than Python
    paths       files that are never edited
"""

from .judging import check_code, judge
from .paths import refuse_path

__all__ = ["check_code", "judge", "refuse_path"]
