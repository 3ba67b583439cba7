"""What checks annotations at run time in tests: beartype, with an int good enough for a float (PEP 484)."""

import beartype

check = beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))
