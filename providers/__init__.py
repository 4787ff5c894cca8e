"""Translation between the wire languages of language-model providers. No I/O.

Usable without the router: `from providers.dialects import DIALECTS`, decode a request of one
dialect to canonical values, encode it in another, and read what could not be carried as losses.
"""
