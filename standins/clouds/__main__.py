"""``python -m standins.clouds runpod --port N``."""

from standins.clouds.serve import main

if __name__ == "__main__":
    raise SystemExit(main())
