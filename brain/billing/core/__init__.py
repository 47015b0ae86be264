"""Pure decisions about money and metered time: values in, values out."""
