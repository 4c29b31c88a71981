"""Peers: other ways to serve the same pipeline, each a small program that is fair to its method.

field.peers_of() ─▶ Peer (base.py): start, call, stop ─▶ agreement, then peers.measure_peers
read.read_recipe(repository) ─▶ Recipe: stages and graphs without a repository
raw.read_raw(pipeline file) ─▶ RawPipeline: networks before the export, for `tutorial`
"""
