"""What the `quaymaster` command does at a gateway: one module per group, imported when the group is named.

Data goes to stdout, everything else to stderr.
"""
