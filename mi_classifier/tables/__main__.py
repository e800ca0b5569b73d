"""Reruns a table of the paper: python -m mi_classifier.tables 2 --seeds=10."""

from mi_classifier.console.tables import run

if __name__ == "__main__":
    run()
