"""Which metadata admits a package, and which refuses it."""

from __future__ import annotations

from email.message import Message

import pytest

from deltaloom_model.training.licences import judge


def metadata(*fields: tuple[str, str]) -> Message:
    message = Message()
    for name, value in fields:
        message[name] = value
    return message


@pytest.mark.parametrize(
    ("fields", "spdx"),
    [
        ([("License-Expression", "MIT")], "MIT"),
        ([("License-Expression", "MPL-2.0 OR Apache-2.0")], "MPL-2.0 OR Apache-2.0"),
        ([("License-Expression", "(MIT OR GPL-3.0-only) AND BSD-3-Clause")], None),
        ([("License-Expression", "Apache-2.0 WITH LLVM-exception")], "Apache-2.0 WITH LLVM-exception"),
        ([("License", "BSD 3-Clause License")], "BSD-3-Clause"),
        ([("License", "Apache License, Version 2.0")], "Apache-2.0"),
        ([("License", "MIT License\n\nPermission is hereby granted ...")], "MIT"),
        ([("License", "LICENSE.txt"), ("Classifier", "License :: OSI Approved :: MIT License")], "MIT"),
        ([("Classifier", "License :: OSI Approved :: ISC License (ISCL)")], "ISC"),
    ],
)
def test_permissive_licences_are_admitted(fields: list[tuple[str, str]], spdx: str | None) -> None:
    expected = spdx if spdx is not None else "(MIT OR GPL-3.0-only) AND BSD-3-Clause"
    assert judge(metadata(*fields)).spdx == expected


@pytest.mark.parametrize(
    "fields",
    [
        [("License-Expression", "GPL-3.0-or-later")],
        [("License-Expression", "MIT AND LGPL-2.1-only")],
        [("License-Expression", "MIT AND (")],
        [("License-Expression", "Apache-2.0 WITH Nobody-exception")],
        [("License", "LGPL v3")],
        [("License", "MIT"), ("Classifier", "License :: OSI Approved :: GNU General Public License (GPL)")],
        [("License", "Mozilla Public License 2.0")],
        [("License", "any-OSI")],
        [("License", "UNKNOWN")],
        [("Classifier", "License :: OSI Approved")],
        [],
    ],
)
def test_copyleft_and_unknown_licences_are_refused_with_a_reason(fields: list[tuple[str, str]]) -> None:
    verdict = judge(metadata(*fields))
    assert verdict.spdx == ""
    assert verdict.reason
