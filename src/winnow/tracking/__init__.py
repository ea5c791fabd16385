"""Runs in MLflow (and, when asked, in Weights & Biases) for stages that never import either.

A stage appends events to a file; a second process, the shipper, reads the file and talks to the store. So a stage
does not pay for `import mlflow`, a dead server cannot stop it, and whatever kills the stage leaves a file from which
its run is finished: at once by the shipper, or at the next start if the shipper died too.

    begin.py facts.py run.py    the stage's side: what is said first, and then
    spool.py launch.py          what lies between: the folder of a run, and whether a shipper is there
    shipper.py to_mlflow.py models.py to_wandb.py system.py   the other side
    answers.py                  what a store answers, and whether asking again may help
    store.py ui.py              addresses, and MLflow's page

    with track("search", params=everything, root=root, tracking=params.tracking) as run:
        run.metric("train_loss", 2.3, step=0)
        run.artifact(root / "artifacts/architecture.json")
"""

from winnow.tracking.run import Dataset, Run, track
from winnow.tracking.store import state_folder
from winnow.tracking.ui import free, serve, ui_command, ui_environment, ui_url

__all__ = ["Dataset", "Run", "free", "serve", "state_folder", "track", "ui_command", "ui_environment", "ui_url"]
