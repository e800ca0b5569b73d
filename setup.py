"""Installs configs/ as `mi_classifier/configs`; setup.cfg says all else."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["mi_classifier*"]), "mi_classifier.configs"],
    package_dir={"mi_classifier.configs": "configs"},
)
