"""Pure decisions on clouds' offers: what is believed, what rests, what the past says."""
