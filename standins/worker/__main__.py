"""``python -m standins.worker --port N --model NAME``."""

from standins.worker.app import main

if __name__ == "__main__":
    raise SystemExit(main())
