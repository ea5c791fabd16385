"""Evaluators that import next to nothing, so that the processes of a test start at once."""

import os
import random
import signal
import time

from winnow.trials.outcome import Job

OPTIONS = {"a": 1, "b": 2, "c": 3}


def score(job: Job) -> dict[str, float]:
    """The nearer to all "b" the better; more "c" cost more."""
    values = [OPTIONS[v] for v in job.architecture.values()]
    noise = (job.seed % 1000) / 1e4
    return {"accuracy": -sum((v - 2) ** 2 for v in values) + noise, "cost": float(sum(values))}


def make(seconds: float = 0.0, fail: list[int] | None = None, die: list[int] | None = None, log: str = ""):
    """Sleeps an amount that hangs on the trial; trials in `fail` raise, those in `die` take their process with them."""

    def evaluate(job: Job) -> dict[str, float]:
        if log:
            with open(log, "a") as file:
                file.write(f"{job.number}\n")
        time.sleep(seconds * (1 + job.seed % 3))
        if job.number in (fail or ()):
            raise MemoryError("CUDA out of memory, says the toy")
        if job.number in (die or ()):
            os._exit(77)
        return score(job)

    return evaluate


def learning(job: Job) -> dict[str, float]:
    """Reports its objective, or both with fidelity "two", in four steps, each a quarter of the way."""
    final = score(job)
    metrics = ("accuracy", "cost") if job.fidelity.get("two") else ("accuracy",)
    for step in range(1, 5):
        job.report(step, *(final[metric] * step / 4 for metric in metrics))
    return final


def make_learning():
    return learning


def make_suicidal():
    return lambda job: os.kill(os.getpid(), signal.SIGKILL)


def make_broken():
    return 1 / 0


def make_seeing():
    def evaluate(job: Job) -> dict[str, float]:
        assert job.device == "cuda:0"
        time.sleep(0.05)
        return {**score(job), "visible": float(os.environ["CUDA_VISIBLE_DEVICES"])}

    return evaluate


def longer(job: Job) -> dict[str, float]:
    """The more "c" the better; the noise is the network's own, and shrinks the longer it is trained."""
    right = sum(value == "c" for value in job.architecture.values())
    noise = random.Random(job.architecture.digest).gauss(0, 3 / job.fidelity["epochs"])
    return {"accuracy": right + noise + job.fidelity["epochs"] / 10}


def make_longer():
    return longer
