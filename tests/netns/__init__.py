"""Real Serf agents in networks that are really cut: what `tests/simulation` does to the rules, done to it
all.

From the ground up: `space` (network namespaces that vanish with their processes), `faults` (what is
wrong with the network, as data), `cluster` (nodes and verbs), `record` (every command and what it said,
for the judge), `puppet` (a command that halts between two messages), `storm` (cron jobs, and a nemesis
among them).
"""
