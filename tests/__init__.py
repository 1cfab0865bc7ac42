"""What checks annotations and tensor shapes at run time in the tests: beartype, an int being good for a float."""

from beartype import BeartypeConf, beartype

typecheck = beartype(conf=BeartypeConf(is_pep484_tower=True))
