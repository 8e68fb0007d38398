"""``python -m tfhf.cli``: what ``tfhf launch -m tfhf.cli train …`` runs in each worker."""

from tfhf.cli import main

if __name__ == "__main__":
    main()
