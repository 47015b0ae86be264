"""``python -m standins.payments.stripe --port N``."""

from standins.payments.stripe.serve import main

if __name__ == "__main__":
    raise SystemExit(main())
