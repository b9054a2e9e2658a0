"""Files and options that somebody broke, through the real commands: `python -m fuzz --help`.

Every case is made from a kind and a seed, and runs in a process of its own, forked from one that
has loaded everything. It passes if it ends well with an artifact that runs and whose report is
true, or with one clear message and a documented code. All else is a fault.
"""
