"""The console command, as python -m mi_classifier."""

from mi_classifier.console import main

if __name__ == "__main__":
    main()
