"""MTN MoMo's sandbox: tokens, collections, disbursements, callbacks; ``ganglion stand-in momo``."""
