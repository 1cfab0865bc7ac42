"""The packages of the wheel: those of the tree, and conf/ as ``rsna_det/conf``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["rsna_det*", "experiments*"]), "rsna_det.conf"],
    package_dir={"rsna_det.conf": "conf"},
)
