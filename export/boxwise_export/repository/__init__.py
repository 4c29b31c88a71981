"""A plan becomes models in a repository, which changes as a whole or not at all.

    stage_models.py  Plan ─▶ stages, each a model's folder, from the templates (configs.py)
    layouts.py       stages + ServingConfig ─▶ the models of a layout
    publish.py       models ─▶ their next versions (versions.py) and the manifest (manifest.py)
    revisions.py     which revision is served          rollout.py   a running server follows it
    runner.py        stages ─▶ one function, for the parity gate

`atomic_dir.py` replaces the folder.
"""
