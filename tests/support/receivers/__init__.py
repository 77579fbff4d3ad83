"""Mail and name servers of other people, started privately on loopback for one test session.

`Postfix` runs from its installed package with a configuration, queue and log of its own. Those that conflict with it
as packages run from `.cache/test-servers`, where ``scripts/unpack-server`` put their files, each in a `Jail`.
"""
