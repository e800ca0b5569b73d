"""Trains and evaluates: python train.py --config=configs/gmm.py [--workdir=FOLDER]."""

from mi_classifier.console.train import run

if __name__ == "__main__":
    run()
