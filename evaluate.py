"""Evaluates a run: python evaluate.py --workdir=runs/gmm."""

from mi_classifier.console.evaluate import run

if __name__ == "__main__":
    run()
