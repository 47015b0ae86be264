"""Provisioning: machines rented at clouds, from the wish to the proof that they are gone."""
